// Feeds bytes to the loader of gateway.yaml. Build it with the modules IdentityModel and GatewayConfig, and libyaml.
//
// Besides crashes and sanitizer reports, these are findings:
// - a configuration next to an error, or neither of the two,
// - a route that says nothing about who may use it,
// - a configuration that `print` shows as text which does not load, or shows otherwise the second time.

import GatewayConfig
import IdentityModel

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

/// Called by libFuzzer with each input.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzYAML(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    // libFuzzer owns `count` bytes at `start` for the length of this call.
    let bytes = unsafe Array(UnsafeBufferPointer(start: start, count: count))
    let result = load(bytes)
    guard let configuration = result.configuration else {
        precondition(result.hasErrors, "no configuration and no error")
        return 0
    }
    precondition(!result.hasErrors, "a configuration next to an error")
    for route in configuration.routes {
        switch route.access {
        case .open: precondition(route.credentials.isEmpty, "a public route with credentials")
        case .optional: precondition(!route.credentials.isEmpty, "a route without credentials")
        case .rules(let rules): precondition(!rules.isEmpty && !route.credentials.isEmpty, "a route without rules")
        }
    }
    let printed = ConfigurationPrinter.yaml(result)
    // A masked secret is too short to load again.
    guard !printed.contains("secret: \"***\"") else { return 0 }
    let again = load(Array(printed.utf8))
    precondition(again.configuration != nil, "what print shows does not load")
    precondition(values(ConfigurationPrinter.yaml(again)) == values(printed), "print shows another configuration")
    return 0
}
