import Glibc
import IdentityModel
import Testing

@testable import Storage

/// Needs the right to mount, as in a container that runs as root.
@Suite(.enabled(if: SmallDisk.isAvailable)) struct FullDiskTests {
    @Test func `a full disk is an error for the change it hits, which is then not there, and passes with the cure`()
        async throws
    {
        let disk = try SmallDisk()
        let database = try Database(path: disk.path + "/gateway.db")
        let store = KeyStore(database)
        var stored: [String] = []
        var failure: StoreError?
        for index in 0..<10_000 where failure == nil {
            let name = "secret-\(index)"
            do throws(StoreError) {
                _ = try await store.secret(named: name, orInsert: Secret([UInt8](repeating: 1, count: 4000)), now: 0)
                stored.append(name)
            } catch { failure = error }
        }
        #expect(failure?.reason == .full)
        #expect(!stored.isEmpty)

        // Reading goes on, and shows exactly what was acknowledged.
        let names = try await database.read { connection throws(StoreError) in
            try connection.rows("SELECT name FROM secrets ORDER BY created_at, name") { $0.text(0) }
        }
        #expect(Set(names) == Set(stored))

        try disk.grow()
        _ = try await store.secret(named: "after", orInsert: Secret([1]), now: 0)
        database.close()
        let reopened = try Database(path: disk.path + "/gateway.db")
        let afterwards = try await reopened.read { connection throws(StoreError) in
            try connection.rows("SELECT name FROM secrets") { $0.text(0) }
        }
        #expect(Set(afterwards) == Set(stored + ["after"]))
        reopened.close()
    }

    @Test func `a read-only file system is an error that says so`() async throws {
        let disk = try SmallDisk()
        try Database(path: disk.path + "/gateway.db").close()
        try disk.makeReadOnly()
        var found: StoreError?
        do throws(StoreError) {
            let database = try Database(path: disk.path + "/gateway.db")
            defer { database.close() }
            _ = try await KeyStore(database).secret(named: "a", orInsert: Secret([1]), now: 0)
        } catch { found = error }
        #expect(found?.reason == .readOnly || found?.reason == .unavailable)
        #expect(found != nil)
    }
}

/// A file system in memory that is full soon.
private final class SmallDisk {
    private let folder: TemporaryFolder
    var path: String { folder.path }

    static let isAvailable: Bool = (try? SmallDisk()) != nil

    init() throws {
        folder = try TemporaryFolder()
        try mount("size=512k,mode=0700", flags: 0)
    }

    deinit { unsafe umount2(path, CInt(MNT_DETACH)) }

    func grow() throws { try mount("size=16m", flags: UInt(MS_REMOUNT)) }
    func makeReadOnly() throws { try mount("", flags: UInt(MS_REMOUNT | MS_RDONLY)) }

    private func mount(_ options: String, flags: UInt) throws {
        // The strings are copied for the call.
        guard unsafe Glibc.mount("tmpfs", path, "tmpfs", flags, options) == 0 else { throw MountFailed() }
    }

    private struct MountFailed: Error {}
}
