internal import BlockingWork
internal import EventLoop
internal import Glibc
internal import HTTPModel
internal import Synchronization

/// What all files of bodies in the process share: the threads that write, read and close them, and the bytes they hold.
public final class BodyFiles: Sendable {
    private let work = JobQueue<Work>(capacity: BodyFiles.waitingMax)
    private let bytes = Atomic<Int>(0)
    private let isStarted = Mutex(false)

    private enum Work: Sendable {
        case move(FilePiece)
        case close(BodyFile)
    }

    /// No file is open, and no thread runs before one is.
    public init() {}

    deinit { work.close() }

    /// Bytes that the files may take on their disks now.
    public var bytesHeld: Int { bytes.load(ordering: .relaxed) }

    /// Counts bytes that a file will hold, unless all files together would hold more than `bytesMax`.
    func take(_ byteCount: Int, bytesMax: Int) -> Bool {
        if bytes.add(byteCount, ordering: .relaxed).newValue <= bytesMax { return true }
        give(byteCount)
        return false
    }

    func give(_ byteCount: Int) { bytes.subtract(byteCount, ordering: .relaxed) }

    /// Has a piece written or read; `false` when nobody will.
    func move(_ piece: FilePiece) -> Bool { start() && work.add(.move(piece)) }

    /// Closes a file, once the piece under way has been moved.
    func close(_ file: BodyFile) { if !start() || !work.add(.close(file)) { file.close() } }

    private func start() -> Bool {
        isStarted.withLock { isStarted in
            if isStarted { return true }
            for _ in 0..<BodyFiles.threadCount {
                let work = work
                let hasThread = startDetachedThread(stackBytes: 262_144) {
                    while let next = work.next() {
                        switch next {
                        case .move(let piece): piece.move()
                        case .close(let file): file.close()
                        }
                    }
                }
                // One is enough to go on with.
                if hasThread { isStarted = true }
            }
            return isStarted
        }
    }

    /// A second one, so that a disk that is slow for one file does not keep all from theirs.
    private static let threadCount = 2
    /// One piece for each body, and its end: more than there are connections.
    private static let waitingMax = 1 << 20
}

/// The file of one body: made when the first piece is written. What blocks is for the threads of `BodyFiles`; `reserve` is
/// for the worker.
final class BodyFile: Sendable {
    private let folder: BodyFolder
    private let files: BodyFiles
    /// Bytes counted in `files` for this one.
    private let reserved = Atomic<Int>(0)
    // Held over each call, so that none finds the number of a file that was closed meanwhile.
    private let state = Mutex(State())

    private struct State: ~Copyable {
        var descriptor = Descriptor(adopting: -1)
        var isClosed = false
    }

    init(in folder: BodyFolder, of files: BodyFiles) {
        self.folder = folder
        self.files = files
    }

    deinit { close() }

    /// Makes room for the file up to `end`; `false` when all files together hold as much as they may.
    func reserve(upTo end: Int, bytesMax: Int) -> Bool {
        let missing = end - reserved.load(ordering: .relaxed)
        guard missing > 0 else { return true }
        guard files.take(missing, bytesMax: bytesMax) else { return false }
        reserved.add(missing, ordering: .relaxed)
        return true
    }

    /// Writes all of the bytes; blocks. An error number, or zero.
    func write(_ bytes: Span<UInt8>, at offset: Int) -> CInt {
        state.withLock { state in
            if state.isClosed { return EBADF }
            if state.descriptor.number < 0 {
                state.descriptor = folder.makeFile()
                if state.descriptor.number < 0 { return errno }
            }
            var done = 0
            while done < bytes.count {
                let count = unsafe bytes.withUnsafeBufferPointer { region in
                    // The rest of the region, which lives for the call.
                    unsafe pwrite(
                        state.descriptor.number, region.baseAddress.map { unsafe $0 + done }, region.count - done,
                        offset + done)
                }
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { return count < 0 ? errno : EIO }
                done += count
            }
            return 0
        }
    }

    /// Reads exactly so many bytes; blocks. An error number, or zero.
    func read(_ byteCount: Int, at offset: Int, into buffer: inout ByteBuffer) -> CInt {
        state.withLock { state in
            if state.isClosed { return EBADF }
            while buffer.count < byteCount {
                let done = buffer.count
                // The region is the free space of the buffer, at least as long as what is missing.
                let count = unsafe buffer.fillFreeSpace(minimum: byteCount - done, maximum: byteCount - done) {
                    unsafe pread(state.descriptor.number, $0.baseAddress, $0.count, offset + done)
                }
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { return count < 0 ? errno : EIO }
            }
            return 0
        }
    }

    /// Gives the disk's room back; a file of many bytes may take a while.
    func close() {
        state.withLock { state in
            state.isClosed = true
            state.descriptor = Descriptor(adopting: -1)
        }
        files.give(reserved.exchange(0, ordering: .relaxed))
    }
}

/// A piece of a body on its way to its file or back.
///
/// Passed from the worker to a thread of `BodyFiles` and back: one of them holds it at a time.
final class FilePiece: @unchecked Sendable {
    enum Direction { case write, read(byteCount: Int) }

    let direction: Direction
    var bytes: ByteBuffer
    /// Zero, or why the piece could not be moved.
    private(set) var errorNumber: CInt = 0
    private let file: BodyFile
    private let offset: Int
    // Touched by the worker alone, which lets go of both in `arrive`: they must not end on another thread.
    private var exchange: Exchange?
    private var body: BufferedBody?
    private let generation: UInt64
    private let mailbox: Mailbox

    init(
        _ direction: Direction, _ bytes: consuming ByteBuffer, at offset: Int, of file: BodyFile, body: BufferedBody,
        exchange: Exchange
    ) {
        self.direction = direction
        self.bytes = bytes
        self.offset = offset
        self.file = file
        self.body = body
        self.exchange = exchange
        generation = exchange.generation
        mailbox = exchange.worker.loop.mailbox
    }

    /// Blocks.
    func move() {
        errorNumber =
            switch direction {
            case .write: file.write(bytes.bytes, at: offset)
            case .read(let byteCount): file.read(byteCount, at: offset, into: &bytes)
            }
        mailbox.post { [self] _ in arrive() }
    }

    private func arrive() {
        defer {
            exchange = nil
            body = nil
        }
        // The connection may be gone, and the exchange serve another.
        guard let exchange, let body, exchange.generation == generation else { return }
        body.arrived(self)
        exchange.downstream?.bufferMoved(exchange)
    }
}
