internal import FoundationEssentials
import GatewayConfig
import Testing

/// The files that the repository itself hands out.
@Suite struct RepositoryFilesTests {
    private static let root = #filePath.split(separator: "/").dropLast(3).map { "/" + $0 }.joined()

    private static func text(_ path: String) throws -> String {
        let contents = try SystemFiles().read("\(root)/\(path)", bytesMax: 1 << 20)
        return String(decoding: contents.bytes, as: UTF8.self)
    }

    private let files = MemoryFiles.usual
        .with(".dev/cert.pem", "-----BEGIN CERTIFICATE-----").with(".dev/key.pem", "-----BEGIN PRIVATE KEY-----")
        .with("tls/cert.pem", "-----BEGIN CERTIFICATE-----").with("tls/key.pem", "-----BEGIN PRIVATE KEY-----")

    @Test(arguments: ["gateway.yaml", "examples/contract/gateway.yaml"])
    func `a file of the repository loads without a problem`(path: String) throws {
        let result = load(try Self.text(path), files: files)
        #expect(result.problems.map(\.description) == [])
        #expect(result.configuration != nil)
    }

    @Test func `the repository's file counts in memory, and in Redis where the environment has one`() throws {
        let text = try Self.text("gateway.yaml")
        #expect(load(text, files: files).configuration?.limits.map(\.store) == [.memory])
        let result = load(text, environment: ["REDIS_URL": "redis://127.0.0.1:6390"], files: files)
        #expect(result.problems.map(\.description) == [])
        #expect(result.configuration?.limits.map(\.store) == [.redis])
        #expect(result.configuration?.redis?.port == 6390)
    }

    @Test func `PORT moves the listener, the redirect and the sign-in page together`() throws {
        let result = load(try Self.text("gateway.yaml"), environment: ["PORT": "9443"], files: files)
        let configuration = try #require(result.configuration)
        #expect(configuration.listeners[0].address == .tcp(host: "0.0.0.0", port: 9443))
        #expect(configuration.listeners[1].redirectToHTTPSPort == 9443)
        #expect(configuration.authentication.session.loginURL == "https://iam.demo.localhost:9443/auth/login")
    }

    @Test func `the reference page is what the settings say; regenerate with auth-gateway print --reference`() throws {
        #expect(try Self.text("docs/CONFIGURATION.md") == ConfigurationReference.markdown())
    }

    @Test func `the schema is JSON`() throws {
        let schema = try JSONDecoder().decode(AnyJSON.self, from: Data(ConfigurationSchema.json().utf8))
        guard case .object(let members) = schema, case .object(let properties)? = members["properties"] else {
            Issue.record("no properties")
            return
        }
        #expect(properties.keys.contains("listeners") && properties.keys.contains("routes"))
        #expect(properties.keys.count == 20)
    }

    /// Whatever JSON holds.
    private indirect enum AnyJSON: Decodable {
        case object([String: AnyJSON])
        case other

        init(from decoder: any Decoder) throws {
            self = (try? .object([String: AnyJSON](from: decoder))) ?? .other
        }
    }
}
