internal import IdentityModel

extension ConfigurationReader {
    /// What a rule asks of a subject. An empty requirement would hold for everybody, so it is an error at every depth.
    func requirement(_ node: YAMLNode, at path: ConfigurationPath) -> Requirement? {
        let location = SourceLocation(path: path.description, line: node.line, column: node.column)
        let keys = Settings.Require.keys.map(\.key)
        guard case .mapping(let pairs) = node.value else {
            if case .refused = node.value { return nil }
            error(
                location, "\(node.kind) stands here",
                cure: "write a mapping with one of \(keys.joined(separator: ", "))")
            return nil
        }
        guard !pairs.isEmpty else {
            error(location, "the requirement is empty", cure: "write { authenticated: true } to let every subject in")
            return nil
        }
        let parts = pairs.map { part($0, at: path, keys: keys) }
        let whole = parts.compactMap { $0 }.flatMap { $0 }
        guard !parts.contains(where: { $0 == nil }), let first = whole.first else { return nil }
        // Every other part holds for subjects only, so that `authenticated` adds nothing to it.
        let others = whole.filter { $0 != .authenticated }
        return others.count > 1 ? .allOf(others) : others.first ?? first
    }

    /// Requirements that all have to hold; `nil` where something is wrong, which is reported.
    private func part(_ pair: YAMLPair, at path: ConfigurationPath, keys: [String]) -> [Requirement]? {
        let partPath = path.key(pair.key)
        let location = SourceLocation(path: partPath.description, line: pair.node.line, column: pair.node.column)
        switch pair.key {
        case "authenticated":
            guard let texts = list(.boolean, of: pair.node, at: partPath) else { return nil }
            guard texts == [true] else {
                error(
                    location, "a requirement cannot ask for nobody",
                    cure: "write authenticated: true, or make the route public")
                return nil
            }
            return [.authenticated]
        case "scopes":
            guard let scopes = list(.scope, of: pair.node, at: partPath) else { return nil }
            return nonEmpty(scopes.map { .scope($0) }, at: location)
        case "roles":
            guard let roles = list(.role, of: pair.node, at: partPath) else { return nil }
            guard let requirements = nonEmpty(roles.map { .role($0) }, at: location) else { return nil }
            return requirements.count == 1 ? requirements : [.anyOf(requirements)]
        case "all_of", "any_of":
            guard let members = self.members(pair.node, at: partPath, location: location) else { return nil }
            return [pair.key == "all_of" ? .allOf(members) : .anyOf(members)]
        default:
            unknownKey(pair, in: path, known: keys)
            return nil
        }
    }

    private func members(_ node: YAMLNode, at path: ConfigurationPath, location: SourceLocation) -> [Requirement]? {
        guard case .sequence(let nodes) = node.value else {
            error(location, "\(node.kind) stands here", cure: "write a list of requirements")
            return nil
        }
        let members = nodes.enumerated().map { requirement($0.element, at: path.index($0.offset)) }
        let whole = members.compactMap { $0 }
        return whole.count == members.count ? nonEmpty(whole, at: location) : nil
    }

    private func nonEmpty(_ members: [Requirement], at location: SourceLocation) -> [Requirement]? {
        guard members.isEmpty else { return members }
        error(location, "the list is empty", cure: "name what is required")
        return nil
    }
}

/// A requirement in the file's own words.
enum RequirementText {
    static func flow(_ requirement: Requirement) -> String {
        switch requirement {
        case .authenticated: "{authenticated: true}"
        case .scope(let scope): "{scopes: \(YAMLText.list([scope.name]))}"
        case .role(let role): "{roles: \(YAMLText.list([role.name]))}"
        case .allOf(let members): "{all_of: [\(members.map(flow).joined(separator: ", "))]}"
        case .anyOf(let members): "{any_of: [\(members.map(flow).joined(separator: ", "))]}"
        }
    }
}
