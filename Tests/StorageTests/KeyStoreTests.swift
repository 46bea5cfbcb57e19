import IdentityModel
import Storage
import Testing

@Suite struct KeyStoreTests {
    private let folder: TemporaryFolder
    private let database: Database

    init() throws {
        folder = try TemporaryFolder()
        database = try folder.database()
    }

    private func fresh(_ name: String, at time: Int64 = 5) -> StoredSigningKey {
        StoredSigningKey(keyID: name, pkcs8: Secret(Array(name.utf8)), createdAt: time, isActive: true)
    }

    @Test func `the first key stays, and whoever comes second gets it too`() async throws {
        let store = KeyStore(database)
        #expect(try await store.signingKeys().isEmpty)
        let first = try await store.signingKeys(orInsert: fresh("a"))
        #expect(first.map(\.keyID) == ["a"])
        let second = try await store.signingKeys(orInsert: fresh("b", at: 9))
        #expect(second.map(\.keyID) == ["a"])
        #expect(second.first?.pkcs8.reveal() == Array("a".utf8))
        #expect(second.first?.createdAt == 5)
        #expect(second.first?.isActive == true)
    }

    @Test func `a secret is made once`() async throws {
        let store = KeyStore(database)
        #expect(try await store.secret(named: "csrf", orInsert: Secret([0, 1]), now: 0).reveal() == [0, 1])
        #expect(try await store.secret(named: "csrf", orInsert: Secret([2]), now: 0).reveal() == [0, 1])
        #expect(try await store.secret(named: "other", orInsert: Secret([]), now: 0).reveal() == [])
    }
}
