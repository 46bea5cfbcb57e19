/// The reference page of `gateway.yaml`, made from the declarations.
public enum ConfigurationReference {
    /// `docs/CONFIGURATION.md`: regenerate it with `auth-gateway print --reference > docs/CONFIGURATION.md`.
    public static func markdown() -> String {
        introduction + "\n" + parts() + requirements + environment
    }

    private static let introduction = """
        # Configuration

        This page is made from the settings themselves by `auth-gateway print --reference > docs/CONFIGURATION.md`; a test
        compares the two. `auth-gateway check` reports every problem of a file in one run, `auth-gateway print` shows what holds
        and where each value came from.

        ## How the file is read

        - YAML in UTF-8, one document of at most 1 MiB. An unknown key, a duplicate key, a tag, an anchor or an alias is an
          error: each value is written where it holds. What several routes share has a name of its own (`upstreams`, `limits`,
          `roles`).
        - A value is read as its setting says, never as YAML guesses: `1.2` is a version where a version is wanted; booleans are
          `true` and `false` alone; numbers are decimal digits.
        - Durations: `500ms`, `10s`, `5m`, `8h`, `1d`. Sizes: bytes, or `64KB` (1000) and `16KiB` (1024), `MB`, `MiB`, `GB`, `GiB`.
          Rates: `5/minute` or `5 per minute`, by second, minute, hour or day.
        - A list may be written as a single value where it has one member.
        - `${NAME}` in a value is replaced by that environment variable, `${NAME:-default}` also when it is unset or empty; `$$`
          is a dollar. What a variable holds is not searched again.
        - Paths of files count from the folder of `gateway.yaml`.
        - Secrets: `key_file` may stand instead of `key` and names a file that other users cannot read.
        - The order for each value: a `GATEWAY_` variable, the file, the variable named under "without it", the default.

        ## Settings

        """

    /// A heading and a table for each part of the file; what has no part of its own stands first.
    private static func parts() -> String {
        let top = Settings.all.filter { SettingPattern.parent(of: $0.pattern).isEmpty }
        let single = top.filter { $0.summary.shape.isValue }
        return table(single)
            + top.filter { !$0.summary.shape.isValue }.map { group in
                let members = Settings.all.filter { $0.pattern.isBelow(group.pattern) }
                return "### `\(group.pattern)`\n\n\(shape(group))\(group.help)\n\n" + table(members)
            }.joined()
    }

    private static func table(_ declarations: [any SettingDeclaration]) -> String {
        "| setting | meaning | write | without it |\n|---|---|---|---|\n" + declarations.map(row).joined() + "\n"
    }

    private static func row(_ declaration: any SettingDeclaration) -> String {
        let summary = declaration.summary
        let key = SettingPattern.key(of: declaration.pattern)
        let secret = summary.isSecret ? " `\(key)_file` names a file that holds it." : ""
        let value = summary.shape.isValue ? summary.allowed + (summary.shape.isList ? "; or a list of these" : "") : ""
        let alias = summary.alias.map { "`\($0)`, else " } ?? ""
        let cells = [
            "`\(declaration.pattern)`", shape(declaration) + declaration.help + secret, value, alias + summary.absent,
        ]
        return "| " + cells.map { $0.split(separator: "|").joined(separator: "\\|") }.joined(separator: " | ") + " |\n"
    }

    private static func shape(_ declaration: any SettingDeclaration) -> String {
        switch declaration.summary.shape {
        case .single, .list: ""
        case .mapping(let word): word.map { "A mapping, or `\($0)`. " } ?? "A mapping. "
        case .names: "A mapping from names of your choice. "
        case .listOfMappings: "A list of mappings. "
        case .requirement: "A requirement (see below). "
        }
    }

    private static let requirements: String = {
        "## Requirements\n\nA requirement has one or more of these keys, and all of them hold. None of them may be empty.\n\n"
            + Settings.Require.keys.map { "- **`\($0.key)`**: \($0.help)\n" }.joined() + "\n"
    }()

    private static let environment = """
        ## Environment

        Every setting whose path holds no list and no name of the file's choice can be overridden by `GATEWAY_` and its path in
        capitals, with `__` between keys: `log.level` by `GATEWAY_LOG__LEVEL`. A list is written with commas. A `GATEWAY_`
        variable that overrides nothing, and that the file does not name, is reported as a warning.

        These variables, which many deployments have set already, count where the file is silent:

        | variable | setting |
        |---|---|

        """ + aliasRows + """

            The three of `authentication.jwt[]` go together: they describe one issuer where the file has no `authentication.jwt`
            and `IAM_JWKS_URL` is set. To let another variable decide, name it in the file: `address: 0.0.0.0:${PORT:-8443}`.

            """

    private static let aliasRows: String = Settings.all.compactMap { declaration in
        declaration.summary.alias.map { "| `\($0)` | `\(declaration.pattern)` |\n" }
    }.joined()
}

extension String {
    /// Whether a pattern lies below another: `log.level` below `log`, `listeners[].address` below `listeners`.
    fileprivate func isBelow(_ pattern: String) -> Bool {
        guard hasPrefix(pattern), let next = dropFirst(pattern.count).first else { return false }
        return next == "." || next == "["
    }
}

extension SettingSummary.Shape {
    fileprivate var isList: Bool {
        guard case .list = self else { return false }
        return true
    }

    fileprivate var isValue: Bool {
        guard case .single = self else { return isList }
        return true
    }
}
