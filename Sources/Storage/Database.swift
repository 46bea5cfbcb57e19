internal import BlockingWork
internal import Dispatch
public import IdentityModel
internal import Synchronization

/// The embedded database: one thread that writes, a few that read, and bounded queues in front of them.
///
/// Every change is on disk (`synchronous=FULL`) before its caller hears of it. Every error is a `StoreError`; none
/// ever looks like "there is no such row".
public final class Database: Sendable {
    /// Sizes and bounds.
    public struct Options: Sendable {
        /// Threads that read.
        public var readers: Int
        /// Callers that wait for the writer, and as many that wait for the readers; one more is turned away.
        public var queueMax: Int
        /// The longest wait for a lock that another process holds.
        public var busyTimeout: Duration

        /// Two readers, 256 callers, 5 seconds.
        public init(readers: Int = 2, queueMax: Int = 256, busyTimeout: Duration = .seconds(5)) {
            self.readers = readers
            self.queueMax = queueMax
            self.busyTimeout = busyTimeout
        }
    }

    private let writes: JobQueue<WriteJob>
    private let reads: JobQueue<@Sendable (SQLiteConnection) -> Void>
    /// Signalled once by each thread that ends.
    private let writerEnded = DispatchSemaphore(value: 0)
    private let readerEnded = DispatchSemaphore(value: 0)
    private let readerCount: Int
    private let isClosed = Atomic(false)

    /// Opens the file, creates it (mode 0600) when there is none, brings its schema up to date, starts the threads.
    ///
    /// Blocks. Throws when others may read or write the file, when a newer version of the program wrote it, and when
    /// it cannot be opened or is damaged; the description names the cure.
    public convenience init(path: String, options: Options = Options()) throws(StoreError) {
        try self.init(path: path, options: options, migrations: Schema.migrations)
    }

    init(path: String, options: Options, migrations: [Migration]) throws(StoreError) {
        writes = JobQueue(capacity: options.queueMax)
        reads = JobQueue(capacity: options.queueMax)
        readerCount = options.readers
        let (writes, reads) = (writes, reads)

        try DatabaseFile.prepare(path)
        do throws(StoreError) {
            try Database.start(try Database.openWriter(path, options, migrations), writerEnded) { connection in
                let group = WriteGroup(connection: connection)
                while let jobs = writes.next(max: WriteJob.groupMax) { group.commit(jobs) }
            }
            for _ in 0..<options.readers {
                let reader = try SQLiteConnection(path: path, access: .read, busyTimeout: options.busyTimeout)
                try Database.start(reader, readerEnded) { connection in
                    while let job = reads.next() { job(connection) }
                }
            }
        } catch {
            writes.close()
            reads.close()
            throw error
        }
    }

    deinit {
        writes.close()
        reads.close()
    }

    /// Refuses new work, finishes what was queued, closes the connections. Blocks until then; later calls do nothing.
    public func close() {
        guard !isClosed.exchange(true, ordering: .relaxed) else { return }
        // The writer's connection goes last: closing it moves the log into the file, which a reader's may not do.
        reads.close()
        for _ in 0..<readerCount { readerEnded.wait() }
        writes.close()
        writerEnded.wait()
    }

    /// Throws unless the database answers a query now.
    public func probe() async throws(StoreError) {
        _ = try await read { connection throws(StoreError) in
            try connection.row("SELECT count(*) FROM sqlite_schema") { $0.integer(0) }
        }
    }

    /// Runs a query on a reader's thread; what it reads is one consistent state.
    func read<Value: Sendable>(
        _ body: @escaping @Sendable (SQLiteConnection) throws(StoreError) -> Value
    ) async throws(StoreError) -> Value {
        let result: Result<Value, StoreError> = await withCheckedContinuation { continuation in
            let job: @Sendable (SQLiteConnection) -> Void = { connection in
                continuation.resume(
                    returning: Result { () throws(StoreError) in try Database.inReadTransaction(connection, body) })
            }
            if !reads.add(job) { continuation.resume(returning: .failure(.queueFull)) }
        }
        return try result.get()
    }

    /// Makes a change on the writer's thread; returns once it is committed. When `body` throws, nothing is changed.
    func write<Value: Sendable>(
        _ body: @escaping @Sendable (SQLiteConnection) throws(StoreError) -> Value
    ) async throws(StoreError) -> Value {
        let result: Result<Value, StoreError> = await withCheckedContinuation { continuation in
            let job = WriteJob(
                run: { connection throws(StoreError) in
                    let value = try body(connection)
                    return { continuation.resume(returning: .success(value)) }
                },
                fail: { continuation.resume(returning: .failure($0)) })
            if !writes.add(job) { job.fail(.queueFull) }
        }
        return try result.get()
    }

    /// Makes a change for which nobody waits, and which may be lost when the store is full or busy.
    func writeLater(_ body: @escaping @Sendable (SQLiteConnection) throws(StoreError) -> Void) {
        _ = writes.add(
            WriteJob(
                run: { connection throws(StoreError) in
                    try body(connection)
                    return {}
                },
                fail: { _ in }))
    }

    private static func inReadTransaction<Value>(
        _ connection: SQLiteConnection, _ body: (SQLiteConnection) throws(StoreError) -> Value
    ) throws(StoreError) -> Value {
        try connection.script("BEGIN")
        defer { try? connection.script("ROLLBACK") }  // nothing was changed; this only lets go of the snapshot
        return try body(connection)
    }

    private static func openWriter(
        _ path: String, _ options: Options, _ migrations: [Migration]
    ) throws(StoreError) -> sending SQLiteConnection {
        let connection = try SQLiteConnection(path: path, access: .readWrite, busyTimeout: options.busyTimeout)
        let mode = try connection.row("PRAGMA journal_mode = WAL") { $0.text(0) }
        guard mode == "wal" else {
            throw StoreError("database: the file system of \(path) does not support a write-ahead log")
        }
        try Schema.migrate(connection, migrations)
        return connection
    }

    /// Hands the connection to a thread of its own.
    private static func start(
        _ connection: sending SQLiteConnection, _ ended: DispatchSemaphore,
        _ loop: @escaping @Sendable (SQLiteConnection) -> Void
    ) throws(StoreError) {
        let handedOver = HandOver(connection)
        let isStarted = startDetachedThread {
            if let connection = handedOver.take() { loop(connection) }
            ended.signal()
        }
        guard isStarted else { throw StoreError("database: the system gives no thread", reason: .overloaded) }
    }
}

extension WriteJob {
    /// Changes in one transaction; bounds how long the first of a group waits.
    fileprivate static let groupMax = 64
}

extension StoreError {
    fileprivate static let queueFull = StoreError("database: too many callers wait", reason: .overloaded)
}
