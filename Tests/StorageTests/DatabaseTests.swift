import IdentityModel
import Testing

@testable import Storage

@Suite struct DatabaseTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func error(_ body: () throws -> Void) -> StoreError? {
        do {
            try body()
            return nil
        } catch { return error as? StoreError }
    }

    @Test func `a new database and the files beside it are for their owner alone`() async throws {
        let database = try folder.database()
        try await database.probe()
        for name in ["gateway.db", "gateway.db-wal", "gateway.db-shm"] { #expect(try folder.mode(of: name) == 0o600) }
        database.close()
    }

    @Test(arguments: [0o604, 0o620, 0o644, 0o640, 0o660, 0o666, 0o601])
    func `a file that others may use is refused, with the cure`(mode: Int) throws {
        try folder.database().close()
        try folder.setMode(mode, of: "gateway.db")
        let found = error { try folder.database().close() }
        #expect(found?.reason == .permissions)
        #expect(found?.description.hasSuffix("run: chmod 600 \(folder.databasePath)") == true)
        try folder.setMode(0o600, of: "gateway.db")
        try folder.database().close()
    }

    @Test(arguments: ["-wal", "-shm"])
    func `a readable file beside the database is refused too`(suffix: String) throws {
        try folder.database().close()
        try folder.write([], to: "gateway.db" + suffix, mode: 0o644)
        #expect(error { try folder.database().close() }?.reason == .permissions)
    }

    @Test func `a folder that is not there, or a folder in the file's place, is an error that says so`() throws {
        let missing = error { try Database(path: folder.path + "/none/gateway.db").close() }
        #expect(missing?.description.contains("create its folder first") == true)
        let inPlace = error { try Database(path: folder.path).close() }
        #expect(inPlace?.description.contains("not a regular file") == true)
    }

    @Test(arguments: [
        "this is a text and no database at all, although it is long enough to hold a header .............."
    ])
    func `a file that is no database is corrupt, and stays as it is`(text: String) throws {
        try folder.write(Array(text.utf8), to: "gateway.db")
        #expect(error { try folder.database().close() }?.reason == .corrupt)
        #expect(try folder.read("gateway.db") == Array(text.utf8))
    }

    @Test func `the database of another program is refused`() throws {
        _ = try SQLiteFile(folder, "PRAGMA application_id = 7; CREATE TABLE t (x)")
        #expect(error { try folder.database().close() }?.reason == .corrupt)
    }

    @Test func `the database of a program without an identifier is refused as well`() throws {
        _ = try SQLiteFile(folder, "CREATE TABLE t (x)")
        #expect(error { try folder.database().close() }?.reason == .corrupt)
    }

    @Test func `an older program refuses a newer schema`() throws {
        try folder.database().close()
        _ = try SQLiteFile(folder, "PRAGMA user_version = 99")
        let found = error { try folder.database().close() }
        #expect(found?.reason == .newerSchema)
        #expect(found?.description.contains("number 99") == true)
    }

    @Test func `migrations run once, in their order, and only those that are missing`() async throws {
        let first = Migration(number: 1, sql: "CREATE TABLE a (x INTEGER) STRICT; INSERT INTO a VALUES (1)")
        let second = Migration(number: 2, sql: "INSERT INTO a SELECT 2 FROM a")
        let third = Migration(number: 3, sql: "INSERT INTO a SELECT 3 FROM a")
        try Database(path: folder.databasePath, options: .init(), migrations: [first, second]).close()
        try Database(path: folder.databasePath, options: .init(), migrations: [first, second]).close()
        let database = try Database(path: folder.databasePath, options: .init(), migrations: [first, second, third])
        let values = try await database.read { connection throws(StoreError) in
            try connection.rows("SELECT x FROM a ORDER BY rowid") { $0.integer(0) }
        }
        #expect(values == [1, 2, 3, 3])
        database.close()
    }

    @Test func `a migration that fails leaves nothing of any step behind`() throws {
        let good = Migration(number: 1, sql: "CREATE TABLE a (x)")
        let bad = Migration(number: 2, sql: "CREATE TABLE b (x); INSERT INTO nowhere VALUES (1)")
        #expect(
            error { try Database(path: folder.databasePath, options: .init(), migrations: [good, bad]).close() } != nil)
        let file = try SQLiteFile(folder, "")
        let tables = try file.connection.row("SELECT count(*) FROM sqlite_schema") { $0.integer(0) }
        let version = try file.connection.row("PRAGMA user_version") { $0.integer(0) }
        #expect((tables, version) == (0, 0))
    }

    @Test func `the numbers of the migrations have no gaps`() {
        #expect(Schema.migrations.map(\.number) == Array(1...Int64(Schema.migrations.count)))
    }

    @Test func `each connection keeps the promises that the durability rests on`() async throws {
        let database = try folder.database()
        for pragma in [
            ("journal_mode", "wal"), ("synchronous", "2"), ("foreign_keys", "1"), ("trusted_schema", "0"),
            ("busy_timeout", "5000"),
        ] {
            let written = try await database.write { connection throws(StoreError) in
                try connection.row("SELECT * FROM pragma_\(pragma.0)") { $0.text(0) }
            }
            let read = try await database.read { connection throws(StoreError) in
                try connection.row("SELECT * FROM pragma_\(pragma.0)") { $0.text(0) }
            }
            #expect((written, read) == (pragma.1, pragma.1))
        }
        database.close()
    }

    @Test func `a reader cannot write`() async throws {
        let database = try folder.database()
        let found = await #expect(throws: StoreError.self) {
            try await database.read { connection throws(StoreError) in
                try connection.run("DELETE FROM users")
            }
        }
        #expect(found?.reason == .readOnly)
        database.close()
    }

    @Test func `a caller too many is turned away and told to come back`() async throws {
        let database = try folder.database(.init(readers: 1, queueMax: 0))
        let write = await #expect(throws: StoreError.self) { try await Directory(database).deleteSampleUsers() }
        #expect(write?.isOverload == true)
        let read = await #expect(throws: StoreError.self) { try await Directory(database).user(id: 1) }
        #expect(read?.isOverload == true)
        database.close()
    }

    @Test func `a lock that another process keeps is reported as overload, and nothing is written`() async throws {
        let database = try folder.database(.init(busyTimeout: .milliseconds(20)))
        let other = try SQLiteFile(folder, "BEGIN IMMEDIATE")
        let found = await #expect(throws: StoreError.self) {
            try await KeyStore(database).secret(named: "a", orInsert: Secret([1]), now: 0)
        }
        #expect(found?.reason == .locked)
        #expect(found?.isOverload == true)
        try other.connection.script("ROLLBACK")
        let kept = try await KeyStore(database).secret(named: "a", orInsert: Secret([2]), now: 0)
        #expect(kept.reveal() == [2])
        database.close()
    }

    @Test func `a closed database refuses instead of waiting`() async throws {
        let database = try folder.database()
        database.close()
        await #expect(throws: StoreError.self) { try await database.probe() }
    }

    @Test func `damage is an error and never an empty answer`() async throws {
        do {
            let database = try folder.database()
            let store = KeyStore(database)
            for index in 0..<200 {
                _ = try await store.secret(
                    named: "n\(index)", orInsert: Secret([UInt8](repeating: 7, count: 500)), now: 0)
            }
            database.close()
        }
        var bytes = try folder.read("gateway.db")
        for index in bytes.indices where index >= 4096 { bytes[index] = 0xA5 }
        try folder.write(bytes, to: "gateway.db")
        let found = await #expect(throws: StoreError.self) {
            let database = try folder.database()
            defer { database.close() }
            _ = try await database.read { connection throws(StoreError) in
                try connection.rows("SELECT name FROM secrets") { $0.text(0) }
            }
        }
        #expect(found?.reason == .corrupt)
    }
}

/// The same file, opened past the code under test.
struct SQLiteFile {
    let connection: SQLiteConnection

    init(_ folder: TemporaryFolder, _ sql: String) throws {
        if (try? folder.read("gateway.db")) == nil { try folder.write([], to: "gateway.db") }
        connection = try SQLiteConnection(path: folder.databasePath, access: .readWrite, busyTimeout: .seconds(1))
        try connection.script(sql)
    }
}
