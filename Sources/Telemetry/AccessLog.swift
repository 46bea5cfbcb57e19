internal import Glibc
internal import Synchronization

/// Where finished log lines go: a file or standard output, written by a thread of its own, so that a slow disk or pipe
/// never holds a worker.
///
/// Workers hand over chunks of whole lines. What the destination does not take waits, up to `waitingBytesMax`; beyond
/// that chunks are dropped and counted, because the alternative is to stop serving.
public final class AccessLog: Sendable {
    /// 8 MiB.
    public static let waitingBytesMax = 8 << 20

    /// Lines lost because the destination did not keep up or could not be written.
    public let linesDropped = Counter()

    private let path: String?
    private let state = Mutex(State())
    private let wakeUp = Semaphore()
    private let isDone = Semaphore()

    private struct State {
        var chunks: [[UInt8]] = []
        var waitingBytes = 0
        var mustReopen = false
        var isClosing = false
    }

    /// An open destination that could not be had.
    public struct OpenError: Error, CustomStringConvertible {
        /// The path and the system's reason.
        public let description: String
    }

    /// Opens the file for appending (created 0640), or takes standard output when there is no path.
    public init(path: String?) throws(OpenError) {
        self.path = path
        let descriptor = try AccessLog.open(path)
        let thread = Thread()
        thread.start { [self] in write(to: descriptor) }
    }

    /// Hands over whole lines; never blocks for longer than another hand-over takes.
    public func submit(_ chunk: [UInt8]) {
        guard !chunk.isEmpty else { return }
        let isTaken = state.withLock { state in
            guard state.waitingBytes + chunk.count <= AccessLog.waitingBytesMax, !state.isClosing else { return false }
            state.chunks.append(chunk)
            state.waitingBytes += chunk.count
            return true
        }
        if isTaken { wakeUp.signal() } else { countDropped(chunk) }
    }

    /// Opens the file again by its name, after it was moved away.
    public func reopen() {
        state.withLock { $0.mustReopen = true }
        wakeUp.signal()
    }

    /// Writes what waits, then ends; lines that come later are dropped.
    public func close() {
        state.withLock { $0.isClosing = true }
        wakeUp.signal()
        isDone.wait()
    }

    private func write(to first: CInt) {
        var descriptor = first
        while true {
            wakeUp.wait()
            let work = state.withLock { state in
                let work = (chunks: state.chunks, reopen: state.mustReopen, close: state.isClosing)
                state.chunks = []
                state.waitingBytes = 0
                state.mustReopen = false
                return work
            }
            for chunk in work.chunks where !AccessLog.writeAll(chunk, to: descriptor) { countDropped(chunk) }
            if work.reopen, path != nil, let new = try? AccessLog.open(path) {
                if descriptor != STDOUT_FILENO { Glibc.close(descriptor) }
                descriptor = new
            }
            if work.close {
                if descriptor != STDOUT_FILENO { Glibc.close(descriptor) }
                isDone.signal()
                return
            }
        }
    }

    private func countDropped(_ chunk: [UInt8]) {
        linesDropped.addShared(UInt64(chunk.count { $0 == UInt8(ascii: "\n") }))
    }

    private static func open(_ path: String?) throws(OpenError) -> CInt {
        guard let path else { return STDOUT_FILENO }
        let descriptor = unsafe Glibc.open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o640)
        guard descriptor >= 0 else {
            let reason = unsafe String(cString: strerror(errno))
            throw OpenError(description: "cannot open \(path): \(reason)")
        }
        return descriptor
    }

    private static func writeAll(_ bytes: [UInt8], to descriptor: CInt) -> Bool {
        var written = 0
        while written < bytes.count {
            let count = unsafe bytes.withUnsafeBytes { region in
                // Within the array, which lives for the call.
                unsafe Glibc.write(descriptor, region.baseAddress.map { unsafe $0 + written }, region.count - written)
            }
            if count < 0 {
                if errno == EINTR { continue }
                if errno == EAGAIN {
                    var request = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                    _ = unsafe poll(&request, 1, 1000)
                    continue
                }
                return false
            }
            written += count
        }
        return true
    }
}

/// A counting semaphore.
@safe final class Semaphore: Sendable {
    // Owned: allocated and initialised in init, destroyed in deinit; sem_t may be used from any thread.
    private nonisolated(unsafe) let semaphore: UnsafeMutablePointer<sem_t>

    init() {
        unsafe semaphore = .allocate(capacity: 1)
        unsafe sem_init(semaphore, 0, 0)
    }

    deinit {
        unsafe sem_destroy(semaphore)
        unsafe semaphore.deallocate()
    }

    func signal() { unsafe sem_post(semaphore) }

    func wait() {
        while unsafe sem_wait(semaphore) != 0 {}
    }
}

/// Starts a detached thread with all signals blocked.
struct Thread {
    private final class Body: Sendable {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    func start(_ body: @escaping @Sendable () -> Void) {
        var identifier = pthread_t()
        // Retained here, released by the thread's first line.
        let context = unsafe Unmanaged.passRetained(Body(body)).toOpaque()
        let code = unsafe pthread_create(&identifier, nil, Thread.entry, context)
        precondition(code == 0, "no thread for the log")
        pthread_detach(identifier)
    }

    private static let entry: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = { context in
        guard let context = unsafe context else { return nil }
        let body = unsafe Unmanaged<Body>.fromOpaque(context).takeRetainedValue()
        var signals = sigset_t()
        _ = unsafe sigfillset(&signals)
        _ = unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
        body.run()
        return nil
    }
}
