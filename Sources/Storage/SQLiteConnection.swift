internal import CSQLite
internal import IdentityModel

/// One SQLite connection with its prepared statements. It may move between threads, and belongs to one at a time.
@safe final class SQLiteConnection {
    enum Access { case readWrite, read }

    private let database: OpaquePointer
    /// One prepared statement for each text; the texts are constants of this module, so their number is bounded.
    private var statements: [String: OpaquePointer] = unsafe [:]

    /// Opens an existing file.
    init(path: String, access: Access, busyTimeout: Duration) throws(StoreError) {
        var opened: OpaquePointer?
        let flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE
        let code = unsafe sqlite3_open_v2(path, &opened, flags, nil)
        guard code == SQLITE_OK, let database = unsafe opened else {
            unsafe sqlite3_close_v2(opened)
            throw StoreError(sqliteCode: code, doing: "open \(path)")
        }
        // `database` is valid until `deinit`, which alone closes it.
        unsafe self.database = database
        let milliseconds = busyTimeout / .milliseconds(1)
        unsafe sqlite3_busy_timeout(database, CInt(milliseconds))
        unsafe csqlite_set_option(database, SQLITE_DBCONFIG_DEFENSIVE, 1)
        unsafe csqlite_set_option(database, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        unsafe csqlite_set_option(database, SQLITE_DBCONFIG_ENABLE_FKEY, 1)
        unsafe csqlite_set_option(database, SQLITE_DBCONFIG_DQS_DML, 0)
        unsafe csqlite_set_option(database, SQLITE_DBCONFIG_DQS_DDL, 0)
        try script("PRAGMA synchronous = FULL")
        try script("PRAGMA cell_size_check = ON")
        if access == .read { try script("PRAGMA query_only = ON") }
    }

    deinit {
        unsafe statements.values.forEach { unsafe sqlite3_finalize($0) }
        unsafe sqlite3_close_v2(database)
    }

    /// Whether a transaction is open; SQLite ends one by itself after some errors, such as a full disk.
    var isInTransaction: Bool { unsafe sqlite3_get_autocommit(database) == 0 }

    /// Runs statements without parameters or rows, as for migrations and transactions.
    func script(_ sql: String) throws(StoreError) {
        let code = unsafe sqlite3_exec(database, sql, nil, nil, nil)
        guard code == SQLITE_OK else { throw StoreError(sqliteCode: code, doing: "run a statement") }
    }

    /// Runs one statement that returns no rows; returns how many rows it changed.
    @discardableResult
    func run(_ sql: String, _ values: [SQLiteValue] = []) throws(StoreError) -> Int {
        try rows(sql, values) { _ in }
        return Int(unsafe sqlite3_changes64(database))
    }

    /// The first row of a query, if there is one.
    func row<Value>(_ sql: String, _ values: [SQLiteValue] = [], _ read: (SQLiteRow) -> Value) throws(StoreError)
        -> Value?
    {
        try rows(sql, values, read).first
    }

    /// Every row of a query; the query says with LIMIT how many that can be.
    @discardableResult
    func rows<Value>(_ sql: String, _ values: [SQLiteValue] = [], _ read: (SQLiteRow) -> Value) throws(StoreError)
        -> [Value]
    {
        // The statement stays valid: it is finalised in `deinit` only.
        let statement = unsafe try prepared(sql)
        defer {
            unsafe sqlite3_reset(statement)
            unsafe sqlite3_clear_bindings(statement)
        }
        for (index, value) in values.enumerated() {
            let code = unsafe value.bind(to: statement, at: CInt(index + 1))
            guard code == SQLITE_OK else { throw StoreError(sqliteCode: code, doing: "bind a value") }
        }
        var found: [Value] = []
        while true {
            let code = unsafe sqlite3_step(statement)
            switch code {
            case SQLITE_ROW: found.append(unsafe read(SQLiteRow(statement: statement)))
            case SQLITE_DONE: return found
            default: throw StoreError(sqliteCode: code, doing: "read or write")
            }
        }
    }

    private func prepared(_ sql: String) throws(StoreError) -> OpaquePointer {
        if let statement = unsafe statements[sql] { return unsafe statement }
        var statement: OpaquePointer?
        let code = unsafe sqlite3_prepare_v3(database, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &statement, nil)
        guard code == SQLITE_OK, let statement = unsafe statement else {
            throw StoreError(sqliteCode: code, doing: "prepare a statement")
        }
        unsafe statements[sql] = statement
        return unsafe statement
    }
}
