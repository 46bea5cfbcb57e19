import IdentityModel
import Synchronization
import Testing

@testable import Storage

@Suite struct WriteGroupTests {
    private let folder: TemporaryFolder
    private let file: SQLiteFile
    private let log = Log()

    init() throws {
        folder = try TemporaryFolder()
        file = try SQLiteFile(folder, "PRAGMA journal_mode = WAL; CREATE TABLE t (x INTEGER CHECK (x < 100)) STRICT")
    }

    @Test func `changes that wait are committed together, and answered after that`() throws {
        let group = WriteGroup(connection: file.connection)
        let path = folder.databasePath
        let log = log
        let watch = WriteJob(
            run: { connection throws(StoreError) in
                let other = try SQLiteConnection(path: path, access: .read, busyTimeout: .zero)
                let inside = try connection.row("SELECT count(*) FROM t") { $0.integer(0) } ?? -1
                let outside = try other.row("SELECT count(*) FROM t") { $0.integer(0) } ?? -1
                log.add("inside \(inside), outside \(outside)")
                return { log.add("watched") }
            },
            fail: { log.add("\($0)") })
        group.commit([insert(1), insert(2), watch, insert(3)])
        #expect(log.lines == ["inside 2, outside 0", "committed 1", "committed 2", "watched", "committed 3"])
        #expect(try values() == [1, 2, 3])
    }

    @Test func `a change that fails takes back its own part and nobody else's`() throws {
        let log = log
        let half = WriteJob(
            run: { connection throws(StoreError) in
                try connection.run("INSERT INTO t VALUES (50)")
                throw StoreError("on purpose")
            },
            fail: { log.add("failed: \($0)") })
        WriteGroup(connection: file.connection).commit([insert(1), half, insert(100), insert(2)])
        #expect(try values() == [1, 2])
        #expect(log.lines.count == 4)
        #expect(log.lines.first == "failed: on purpose")
        #expect(log.lines.last == "committed 2")
    }

    @Test func `a transaction that is lost fails whoever was in it, and the rest gets another`() throws {
        let log = log
        // What SQLite does by itself when the disk is full.
        let loss = WriteJob(
            run: { connection throws(StoreError) in
                try connection.script("ROLLBACK")
                throw StoreError("disk full", reason: .full)
            },
            fail: { log.add("lost \($0.reason)") })
        WriteGroup(connection: file.connection).commit([insert(1), loss, insert(2)])
        #expect(log.lines == ["lost full", "failed 1", "committed 2"])
        #expect(try values() == [2])
    }

    @Test func `without the lock nothing is begun and everyone is told`() throws {
        let other = try SQLiteFile(folder, "BEGIN IMMEDIATE")
        let mine = try SQLiteConnection(path: folder.databasePath, access: .readWrite, busyTimeout: .zero)
        WriteGroup(connection: mine).commit([insert(1), insert(2)])
        #expect(log.lines == ["failed 1", "failed 2"])
        try other.connection.script("ROLLBACK")
        #expect(try values() == [])
    }

    private func insert(_ value: Int64) -> WriteJob {
        let log = log
        return WriteJob(
            run: { connection throws(StoreError) in
                try connection.run("INSERT INTO t VALUES (?)", [.integer(value)])
                return { log.add("committed \(value)") }
            },
            fail: { _ in log.add("failed \(value)") })
    }

    private func values() throws -> [Int64] {
        try file.connection.rows("SELECT x FROM t ORDER BY x") { $0.integer(0) }
    }
}

private final class Log: Sendable {
    private let content = Mutex<[String]>([])
    var lines: [String] { content.withLock { $0 } }
    func add(_ line: String) { content.withLock { $0.append(line) } }
}
