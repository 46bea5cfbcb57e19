import GatewayConfig
import IdentityModel
import JOSE
import Outbound
import Synchronization
import Testing

@testable import AuthGateway

/// An issuer of tokens as a file names it, with its key.
struct TokenFixture {
    let key: SigningKey
    let authenticator: TokenAuthenticator

    static let name = "https://issuer.test"

    /// `settings` are more lines of the issuer's entry, `published` what its set holds in place of its key.
    init(
        name: String = TokenFixture.name, settings: String = "", published: [JWK]? = nil,
        remoteKeys: RemoteKeySet? = nil
    ) throws {
        let text = """
            listeners: [{ address: 127.0.0.1:8080 }]
            upstreams: { app: { endpoints: [127.0.0.1:5001] } }
            authentication:
              session: { domain: example.test }
              jwt:
                - issuer: \(name)
                  audience: app
                  prefix: "partner:"
                  keys: { jwks_url: "http://127.0.0.1:1/k" }
            \(settings.isEmpty ? "" : "      " + settings)
            roles: { clerk: [books:read] }
            routes: [{ path: /, upstream: app, public: true }]
            """
        let loaded = ConfigurationLoader.load(text: text)
        let configuration = try #require(loaded.configuration, "\(loaded.problems)")
        let issuer = try #require(configuration.authentication.jwt.first)
        key = try SigningKey.generate()
        let keys = published ?? [JWK(key: key.publicKey, keyID: key.keyID)]
        authenticator = TokenAuthenticator(
            issuer: issuer,
            verifier: try TokenVerifier(
                issuer: issuer.issuer, audiences: issuer.audiences, algorithms: [.es256],
                clockSkew: issuer.clockSkew, keys: .publicKeys(JWKSet(keys))),
            remoteKeys: remoteKeys, prefix: SourcePrefix(issuer.prefix, others: [nil]),
            roleScopes: configuration.roles)
    }

    /// The present second of these tests.
    static let now: Int64 = 1_800_000_000

    /// A token that is good for ten minutes, but for what `claims` say; `signer` signs it in place of its issuer.
    func token(_ claims: [(String, JSONValue)] = [], by signer: SigningKey? = nil) throws -> String {
        var all: [(String, JSONValue)] = [
            ("iss", .string(authenticator.issuer.issuer)), ("aud", "app"), ("sub", "ann"),
            ("iat", .integer(Self.now - 1000)), ("exp", .integer(Self.now + 600)),
        ]
        for claim in claims { all.removeAll { $0.0 == claim.0 } }
        return try TokenSigner(key: signer ?? key).sign(JSONObject(all + claims))
    }
}

extension TokenCache {
    /// `nil` where the token is believed.
    func fault(of token: String, now: Int64 = TokenFixture.now) -> CredentialFault? {
        switch credential(for: token.bytes.span, now: now) {
        case .success: nil
        case .failure(let refusal): refusal.fault
        }
    }

    func claims(of token: String, now: Int64 = TokenFixture.now) -> SubjectClaims? {
        try? credential(for: token.bytes.span, now: now).get().claims
    }
}

/// The keys that an issuer publishes now, and how often they were asked for.
final class PublishedKeys: Sendable {
    private let state: Mutex<(keys: [JWK], askedCount: Int)>

    init(_ keys: [JWK]) { state = Mutex((keys, 0)) }

    var askedCount: Int { state.withLock(\.askedCount) }

    func publish(_ keys: [JWK]) { state.withLock { $0.keys = keys } }

    func remote() -> RemoteKeySet {
        RemoteKeySet(url: "https://issuer.test/keys", refreshInterval: .seconds(300)) { _, _ in
            let keys = self.state.withLock { state in
                state.askedCount += 1
                return state.keys
            }
            return FetchResponse(status: 200, contentType: "application/json", body: JWKSet(keys).encoded())
        }
    }
}
