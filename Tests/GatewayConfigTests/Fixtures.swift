import GatewayConfig

/// Files that exist in memory alone.
struct MemoryFiles: FileAccess {
    var files: [String: FileContents] = [:]

    static let usual = MemoryFiles(files: [
        "cert.pem": .init(bytes: Array("-----BEGIN CERTIFICATE-----\nMA==\n".utf8), mode: 0o644),
        "key.pem": .init(bytes: Array("-----BEGIN PRIVATE KEY-----\nMA==\n".utf8), mode: 0o600),
        "keys.json": .init(bytes: Array(#"{"keys":[]}"#.utf8), mode: 0o644),
        "crl.pem": .init(bytes: Array("-----BEGIN X509 CRL-----\nMA==\n".utf8), mode: 0o644),
        "secret": .init(bytes: Array("Zx8kQ2vLr0TnWb5yHs1uJd7mCe4gPf9a\n".utf8), mode: 0o600),
    ])

    func with(_ path: String, _ text: String, mode: UInt32 = 0o600) -> MemoryFiles {
        var copy = self
        copy.files[path] = .init(bytes: Array(text.utf8), mode: mode)
        return copy
    }

    func read(_ path: String, bytesMax: Int) throws(FileProblem) -> FileContents {
        guard let file = files[path] else { throw FileProblem("it does not exist") }
        guard file.bytes.count <= bytesMax else { throw FileProblem("it is too long") }
        return file
    }
}

/// Loads text with files in memory.
func load(
    _ text: String, environment: [String: String] = [:], files: MemoryFiles = .usual
) -> ConfigurationResult {
    ConfigurationLoader.load(text: text, environment: environment, fileAccess: files)
}

/// A file that loads, into whose parts tests put what they are about.
func file(
    top: String = "", listener: String = "", upstreams: String = "  app: { endpoints: [127.0.0.1:5001] }",
    authentication: String = "  session: { domain: example.com }",
    routes: String = "  - { host: app.example.com, path: /, upstream: app, public: true }"
) -> String {
    """
    \(top)
    listeners:
      - address: 127.0.0.1:8443
        tls: { certificates: [{ certificate: cert.pem, key: key.pem }] }
    \(listener)
    upstreams:
    \(upstreams)
    authentication:
    \(authentication)
    routes:
    \(routes)
    """
}

extension ConfigurationResult {
    /// The problems as `path: message; cure`, without places.
    var lines: [String] {
        problems.map { "\($0.location.path): \($0.message); \($0.cure)" }
    }
}
