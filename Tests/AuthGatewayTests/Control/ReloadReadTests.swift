import Glibc
import IdentityModel
import JOSE
import Logging
import Outbound
import Passwords
import ProxyCore
import RateLimit
import Storage
import Telemetry
import TestSupport
import Testing

@testable import AuthGateway

/// What a reload has in hand once everything that blocks is done.
@Suite(.ownThread, .timeLimit(.minutes(1)))
struct ReloadReadTests {
    private func builder(_ options: RunOptions) throws -> SnapshotBuilder {
        let (database, keys) = try IdentityStore.open(try GatewayServer.load(options).sound.configuration)
        let seed = RateLimitSeed.random()
        return SnapshotBuilder(
            process: ProcessResources(
                database: database, identityKeys: keys, hasher: try PasswordHasher(),
                signInThrottle: MemorySignInThrottle(seed: seed), revocations: RevocationTable(),
                limitSeed: seed, memoryLimits: MemoryRateLimitStore(),
                remoteKeys: RemoteKeySets(fetcher: HTTPFetcher()), bodyFiles: BodyFiles(),
                upstreamPlaces: UpstreamPlaceTable(), temporaryFolder: "/tmp",
                metrics: MetricRegistry(), logger: Logger(label: "test")))
    }

    @Test func `a key file that changes after it was read is noticed, however long the reload takes`() throws {
        let folder = try Folder()
        let key = try SigningKey.generate()
        let set = String(decoding: JWKSet([JWK(key: key.publicKey, keyID: "one")]).encoded(), as: UTF8.self)
        try folder.write(set, to: "keys.json")
        try folder.write(
            """
            listeners: [{ address: 127.0.0.1:8080 }]
            identity: { database: "\(folder["gateway.db"])" }
            upstreams: { app: { endpoints: [127.0.0.1:5001] } }
            authentication:
              session: { domain: example.test }
              jwt:
                - { issuer: https://issuer.test, audience: app, prefix: "x:", keys: { jwks_file: keys.json } }
            routes: [{ path: /, upstream: app, public: true }]
            """, to: "gateway.yaml")
        let options = RunOptions(
            configurationPath: folder["gateway.yaml"], isDevelopment: false, environment: [:], version: "test")
        let builder = try builder(options)
        defer { builder.process.database.close() }
        let quiet = Watch(try builder.read(options).watcher)
        #expect(!quiet.tells())
        let loaded = Watch(try builder.read(options).watcher)
        try folder.write(set + "\n", to: "keys.json")
        #expect(loaded.tells())
    }
}
