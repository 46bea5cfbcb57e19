internal import Synchronization

/// A connection on its way to the thread that will own it.
final class HandOver: Sendable {
    private let box: Mutex<SQLiteConnection?>

    init(_ connection: sending SQLiteConnection) { box = Mutex(connection) }

    /// The connection, for the one who asks first.
    func take() -> sending SQLiteConnection? {
        box.withLock { box in
            let connection = box
            box = nil
            return connection
        }
    }
}
