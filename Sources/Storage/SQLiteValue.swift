internal import CSQLite
internal import IdentityModel

/// A value for a parameter of a statement. Values only ever reach SQLite bound, never as a part of its text.
enum SQLiteValue {
    case integer(Int64)
    case text(String)
    case optionalText(String?)
    case blob([UInt8])

    static func bool(_ value: Bool) -> SQLiteValue { .integer(value ? 1 : 0) }

    /// The caller vouches that the statement is valid. SQLite copies text and bytes before the call returns.
    @unsafe func bind(to statement: OpaquePointer, at index: CInt) -> CInt {
        switch self {
        case .integer(let value): unsafe sqlite3_bind_int64(statement, index, value)
        case .optionalText(nil): unsafe sqlite3_bind_null(statement, index)
        case .text(let text), .optionalText(let text?):
            // The length goes along, so that a NUL is a character like any.
            unsafe csqlite_bind_text(statement, index, text, CInt(text.utf8.count))
        case .blob(let bytes): unsafe csqlite_bind_blob(statement, index, bytes, CInt(bytes.count))
        }
    }
}

/// The row that a statement stands on; good only inside the closure it is given to.
@safe struct SQLiteRow {
    private let statement: OpaquePointer

    /// The caller vouches that the statement is valid and on a row.
    @unsafe init(statement: OpaquePointer) { unsafe self.statement = statement }

    func integer(_ column: Int) -> Int64 { unsafe sqlite3_column_int64(statement, CInt(column)) }
    func bool(_ column: Int) -> Bool { integer(column) != 0 }
    func text(_ column: Int) -> String { String(decoding: blob(column), as: UTF8.self) }

    func optionalText(_ column: Int) -> String? {
        unsafe sqlite3_column_type(statement, CInt(column)) == SQLITE_NULL ? nil : text(column)
    }

    func blob(_ column: Int) -> [UInt8] {
        // SQLite keeps the bytes until the next step; they are copied here. No bytes are a null pointer.
        guard let start = unsafe sqlite3_column_blob(statement, CInt(column)) else { return [] }
        let count = unsafe Int(sqlite3_column_bytes(statement, CInt(column)))
        return unsafe Array(UnsafeRawBufferPointer(start: start, count: count))
    }
}

extension StoreError {
    /// An extended result code of SQLite, in the words of an operator. SQLite's own message is left out: it may quote.
    init(sqliteCode code: CInt, doing action: String) {
        let name = unsafe String(cString: sqlite3_errstr(code))  // a constant of the library
        let (reason, cure): (Reason, String) =
            switch code & 0xFF {
            case SQLITE_FULL: (.full, "; make room on the disk that holds the database")
            case SQLITE_READONLY: (.readOnly, "; the file, its folder or the file system does not let us write")
            case SQLITE_CORRUPT, SQLITE_NOTADB: (.corrupt, "; restore the database from a backup")
            case SQLITE_BUSY, SQLITE_LOCKED: (.locked, "; another process holds the database")
            case SQLITE_CANTOPEN: (.unavailable, "; see that its folder exists and is ours to write")
            case SQLITE_CONSTRAINT: (.conflict, "")
            case SQLITE_IOERR: (.unavailable, "; see that the disk that holds the database is well and has room")
            default: (.unavailable, "")
            }
        self.init("database: cannot \(action): \(name) (\(code))\(cure)", reason: reason)
    }
}
