/// Feeds bytes to the loader of gateway.yaml. Besides crashes and sanitizer reports, these are findings:
/// - a configuration next to an error, or neither of the two,
/// - a route that says nothing about who may use it,
/// - a configuration that `print` shows as text which does not load, or shows otherwise the second time.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzYAML(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let result = load(fuzzInput(start, count))
    guard let configuration = result.configuration else {
        check(result.hasErrors, "no configuration and no error")
        return 0
    }
    check(!result.hasErrors, "a configuration next to an error")
    for route in configuration.routes {
        switch route.access {
        case .open: check(route.credentials.isEmpty, "a public route with credentials")
        case .optional: check(!route.credentials.isEmpty, "a route without credentials")
        case .rules(let rules): check(!rules.isEmpty && !route.credentials.isEmpty, "a route without rules")
        }
    }
    let printed = ConfigurationPrinter.yaml(result)
    // A masked secret is too short to load again.
    guard !printed.contains("secret: \"***\"") else { return 0 }
    let again = load(Array(printed.utf8))
    check(again.configuration != nil, "what print shows does not load")
    check(values(ConfigurationPrinter.yaml(again)) == values(printed), "print shows another configuration")
    return 0
}

private struct FuzzFiles: FileAccess {
    func read(_ path: String, bytesMax: Int) throws(FileProblem) -> FileContents {
        let pem = "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\nZx8kQ2vLr0TnWb5yHs1uJd7mCe4gPf9a\n"
        return FileContents(bytes: Array(pem.utf8), mode: 0o600)
    }
}

private func load(_ bytes: [UInt8]) -> ConfigurationResult {
    ConfigurationLoader.load(
        bytes: bytes, file: "gateway.yaml", environment: ["NAME": "value", "EMPTY": ""], fileAccess: FuzzFiles())
}

/// What `print` shows, without the origins.
private func values(_ text: String) -> [String] {
    text.split(separator: "\n").map { line in
        line.firstRange(of: "  # ").map { String(line[..<$0.lowerBound]) } ?? String(line)
    }
}
