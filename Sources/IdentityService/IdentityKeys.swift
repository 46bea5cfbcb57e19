public import IdentityModel
public import JOSE
public import Storage

/// The keys that the service keeps in the store: one to sign tokens, those that verify them, one for forms.
public struct IdentityKeys: Sendable {
    /// Signs new tokens.
    public let signing: SigningKey
    /// Every key that verifies tokens of ours, for `/.well-known/jwks.json`.
    public let published: JWKSet
    let forms: Secret<[UInt8]>

    /// Reads the keys, and makes them at the first start.
    public static func load(from database: Database, now: Int64) async throws(IdentityKeysError) -> IdentityKeys {
        let store = KeyStore(database)
        do {
            let fresh = try SigningKey.generate()
            let stored = try await store.signingKeys(
                orInsert: StoredSigningKey(
                    keyID: fresh.keyID, pkcs8: Secret(fresh.pkcs8().reveal()), createdAt: now, isActive: true))
            let forms = try await store.secret(named: "forms", orInsert: Secret(randomBytes(32)), now: now)
            return try IdentityKeys(stored, forms: forms)
        } catch let error as StoreError {
            throw .store(error)
        } catch let error as KeyError {
            throw .key(error)
        } catch {
            throw .noActiveKey
        }
    }

    private init(_ stored: [StoredSigningKey], forms: Secret<[UInt8]>) throws {
        let keys = try stored.map { (key: try SigningKey(pkcs8: PrivateKeyBytes($0.pkcs8.reveal())), $0.isActive) }
        guard let active = keys.first(where: \.1) else { throw IdentityKeysError.noActiveKey }
        signing = active.key
        published = JWKSet(keys.map { JWK(key: $0.key.publicKey, keyID: $0.key.keyID) })
        self.forms = forms
    }
}

/// The service cannot have its keys.
public enum IdentityKeysError: Error, Sendable {
    /// The store did not answer.
    case store(StoreError)
    /// A stored key is broken, or none could be made.
    case key(KeyError)
    /// The store holds keys, but none to sign with.
    case noActiveKey
}
