internal import BlockingWork
internal import Dispatch
internal import Glibc
internal import Synchronization

/// Where finished log lines go: a file or standard output, written by a thread of its own, so that a slow disk or pipe
/// never holds a worker.
///
/// Workers hand over whole lines. The thread gathers what comes within `gatheringTime` of its last write, so that under
/// load neither a write nor a wake-up is paid for each exchange. What the destination does not take waits, up to
/// `waitingBytesMax`; beyond that lines are dropped and counted, because the alternative is to stop serving.
public final class AccessLog: Sendable {
    /// 8 MiB.
    public static let waitingBytesMax = 8 << 20

    /// Lines lost because the destination did not keep up or could not be written.
    public let linesDropped = Counter()

    private let path: String?
    private let state = Mutex(State())
    private let wakeUp = DispatchSemaphore(value: 0)
    private let isDone = Atomic<Bool>(false)

    private struct State {
        var lines: [UInt8] = []
        /// The thread waits to be woken; else it will look by itself.
        var isAsleep = false
        var mustReopen = false
        var isClosing = false
    }

    /// An open destination that could not be had.
    public struct OpenError: Error, CustomStringConvertible {
        /// The path and the system's reason.
        public let description: String
    }

    /// Opens the file for appending (created 0640), or takes standard output when there is no path.
    public convenience init(path: String?) throws(OpenError) {
        try self.init(path: path, descriptor: try AccessLog.open(path))
    }

    /// Writes to a descriptor that is open; without a path others may write there too.
    init(path: String?, descriptor: CInt) throws(OpenError) {
        self.path = path
        let isStarted = startDetachedThread { [self] in write(to: descriptor) }
        guard isStarted else { throw OpenError(description: "the system gives no thread for the access log") }
    }

    /// Hands over whole lines; never blocks for longer than another hand-over takes.
    public func submit(_ lines: Span<UInt8>) {
        guard !lines.isEmpty else { return }
        enum Outcome { case taken, takenByOneAsleep, dropped }
        let outcome: Outcome = state.withLock { state in
            guard state.lines.count + lines.count <= AccessLog.waitingBytesMax, !state.isClosing else {
                return .dropped
            }
            unsafe lines.withUnsafeBufferPointer { unsafe state.lines.append(contentsOf: $0) }
            guard state.isAsleep else { return .taken }
            state.isAsleep = false
            return .takenByOneAsleep
        }
        switch outcome {
        case .taken: break
        case .takenByOneAsleep: wakeUp.signal()
        case .dropped: countDropped(lines)
        }
    }

    /// Opens the file again by its name, after it was moved away.
    public func reopen() { wake { $0.mustReopen = true } }

    /// Writes what waits, then ends; lines that come later are dropped. A destination that takes nothing holds the end
    /// up for a second, no longer.
    public func close() {
        wake { $0.isClosing = true }
        // No wait of a semaphore, which goes by the clock on the wall: set back, it would last for hours.
        for _ in 0..<AccessLog.farewellLooks where !isDone.load(ordering: .acquiring) {
            usleep(AccessLog.farewellPause)
        }
    }

    private func wake(_ change: (inout sending State) -> Void) {
        state.withLock { state in
            change(&state)
            state.isAsleep = false
        }
        wakeUp.signal()
    }

    /// The thread's life. Two arrays take turns: one is filled while the other is written.
    private func write(to first: CInt) {
        var descriptor = first
        var lines: [UInt8] = []
        var isTorn = false
        while true {
            lines.removeAll(keepingCapacity: lines.capacity <= AccessLog.keptCapacityMax)
            let (mustReopen, isClosing, isAsleep) = state.withLock { state in
                swap(&state.lines, &lines)
                let isIdle = lines.isEmpty && !state.mustReopen && !state.isClosing
                defer { state.mustReopen = false }
                state.isAsleep = isIdle
                return (state.mustReopen, state.isClosing, isIdle)
            }
            if isAsleep {
                wakeUp.wait()
                continue
            }
            writeWhole(lines, to: descriptor, isTorn: &isTorn)
            if mustReopen, path != nil, let new = try? AccessLog.open(path) {
                if descriptor != STDOUT_FILENO { Glibc.close(descriptor) }
                descriptor = new
            }
            if isClosing {
                if descriptor != STDOUT_FILENO { Glibc.close(descriptor) }
                isDone.store(true, ordering: .releasing)
                return
            }
            // For the same reason as in `close`.
            usleep(AccessLog.gatheringTime)
        }
    }

    /// Writes the lines. What a full disk cut in two is taken back, so that each line of the file is one event. Where
    /// others may write too, nothing can be taken back: `isTorn` says that the next line needs an end before it.
    private func writeWhole(_ lines: [UInt8], to descriptor: CInt, isTorn: inout Bool) {
        if isTorn, !lines.isEmpty { isTorn = AccessLog.write([UInt8(ascii: "\n")], to: descriptor) == 0 }
        let written = isTorn ? 0 : AccessLog.write(lines, to: descriptor)
        guard written < lines.count else { return }
        let whole = lines[..<written].lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
        if written > whole {
            var info = stat()
            // The only writer of its file: what was appended last is at the end.
            if path == nil {
                isTorn = true
            } else if unsafe fstat(descriptor, &info) == 0 {
                _ = ftruncate(descriptor, info.st_size - (written - whole))
            }
        }
        countDropped(lines.span.extracting(whole..<lines.count))
    }

    private func countDropped(_ lines: Span<UInt8>) {
        var count: UInt64 = 0
        for index in lines.indices where lines[index] == UInt8(ascii: "\n") { count += 1 }
        linesDropped.addShared(count)
    }

    /// A second in all; the pause is in microseconds.
    private static let farewellLooks = 500
    private static let farewellPause: UInt32 = 2000
    /// The longest that a line waits for others, in microseconds.
    private static let gatheringTime: UInt32 = 5000
    /// A larger array, which a slow destination left behind, is given back.
    private static let keptCapacityMax = 1 << 20

    private static func open(_ path: String?) throws(OpenError) -> CInt {
        guard let path else { return STDOUT_FILENO }
        let descriptor = unsafe Glibc.open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o640)
        guard descriptor >= 0 else {
            let reason = unsafe String(cString: strerror(errno))
            throw OpenError(description: "cannot open \(path): \(reason)")
        }
        return descriptor
    }

    /// How many bytes the destination took; fewer than there are when it failed.
    private static func write(_ bytes: [UInt8], to descriptor: CInt) -> Int {
        var written = 0
        while written < bytes.count {
            let count = unsafe bytes.withUnsafeBytes { region in
                // Within the array, which lives for the call.
                unsafe Glibc.write(descriptor, region.baseAddress.map { unsafe $0 + written }, region.count - written)
            }
            if count < 0 {
                if errno == EINTR { continue }
                guard errno == EAGAIN else { break }
                var request = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                _ = unsafe poll(&request, 1, 1000)
                continue
            }
            written += count
        }
        return written
    }
}
