import EventLoop
import GatewayConfig
import IdentityModel
import IdentityService
import Logging
import Passwords
import Storage

/// Opens the identity service's database, for the gateway and for the commands that work on it.
enum IdentityStore {
    static func open(_ configuration: GatewayConfiguration) throws(StartError) -> (Database, IdentityKeys) {
        let path = configuration.identity.databasePath
        let database: Database
        do throws(StoreError) {
            database = try Database(path: path)
        } catch {
            throw StartError("identity.database: \(path): \(error)")
        }
        do throws(IdentityKeysError) {
            let now = currentEpochSeconds()
            let keys = try waitFor { () async throws(IdentityKeysError) in
                try await IdentityKeys.load(from: database, now: now)
            }
            return (database, keys)
        } catch {
            throw StartError("identity.database: \(path): the signing keys cannot be read: \(error)")
        }
    }

    static func seedSamples(_ configuration: GatewayConfiguration, _ resources: ProcessResources) throws {
        guard let cookie = SessionCookieSettings(isSecure: true) else { return }
        let handler = IdentityHandler(
            settings: IdentitySettings(
                issuer: configuration.identity.issuer, roleScopes: configuration.roles, cookie: cookie),
            database: resources.database, keys: resources.identityKeys, hasher: resources.hasher,
            throttle: resources.signInThrottle, revocations: resources.revocations, logger: resources.logger)
        let outcome: Result<Void, any Error> = waitFor { () async -> Result<Void, any Error> in
            do {
                try await handler.seedSampleUsers()
                return .success(())
            } catch {
                return .failure(error)
            }
        }
        try outcome.get()
    }
}
