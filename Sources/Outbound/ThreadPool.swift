internal import Glibc
internal import Synchronization

/// Threads for calls that block: at most so many at a time, each ending when nothing is left to do.
final class ThreadPool: Sendable {
    private struct State {
        var threadCount = 0
        /// Empty while fewer than `threadsMax` threads run.
        var waiting: [FetchJob] = []
    }

    private let threadsMax: Int
    private let waitingMax: Int
    private let options: FetchOptions
    private let state = Mutex(State())

    init(threadsMax: Int, waitingMax: Int, options: FetchOptions) {
        self.threadsMax = threadsMax
        self.waitingMax = waitingMax
        self.options = options
    }

    /// Has the job run soon, or finishes it with `.queueFull`.
    func run(_ job: FetchJob) {
        enum Place { case thread, queue, none }
        let place: Place = state.withLock { state in
            if state.threadCount < threadsMax {
                state.threadCount += 1
                return .thread
            }
            guard state.waiting.count < waitingMax else { return .none }
            state.waiting.append(job)
            return .queue
        }
        switch place {
        case .queue: break
        case .none: job.finish(.failure(.queueFull))
        case .thread:
            guard !startThread(running: job) else { return }
            state.withLock { $0.threadCount -= 1 }
            job.finish(.failure(.failed("no thread can be started")))
        }
    }

    /// Frees the place of a job that nobody waits for any more.
    func forget(_ job: FetchJob) {
        state.withLock { state in state.waiting.removeAll { $0 === job } }
    }

    private func startThread(running job: FetchJob) -> Bool {
        let start = ThreadStart { [self] in
            var next: FetchJob? = job
            while let job = next {
                job.run(options)
                next = state.withLock { state in
                    guard state.waiting.isEmpty else { return state.waiting.removeFirst() }
                    state.threadCount -= 1
                    return nil
                }
            }
        }
        return start.detach()
    }
}

/// The work of one new thread, carried there by reference.
private final class ThreadStart: Sendable {
    private let work: @Sendable () -> Void

    init(_ work: @escaping @Sendable () -> Void) { self.work = work }

    /// Whether the thread runs. It takes no signal, so that those of the process go to the thread meant for them.
    func detach() -> Bool {
        var attributes = pthread_attr_t()
        guard unsafe pthread_attr_init(&attributes) == 0 else { return false }
        defer { unsafe pthread_attr_destroy(&attributes) }
        guard unsafe pthread_attr_setdetachstate(&attributes, CInt(PTHREAD_CREATE_DETACHED)) == 0,
            unsafe pthread_attr_setstacksize(&attributes, ThreadStart.stackBytes) == 0
        else { return false }
        // The reference is given up by the new thread, or here where there is none.
        let start = unsafe Unmanaged.passRetained(self)
        var thread = pthread_t()
        guard unsafe pthread_create(&thread, &attributes, runThread, start.toOpaque()) == 0 else {
            unsafe start.release()
            return false
        }
        return true
    }

    fileprivate func run() {
        var signals = sigset_t()
        unsafe sigfillset(&signals)
        unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
        work()
    }

    private static let stackBytes = 512 << 10
}

private func runThread(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    // The reference that `detach` retained.
    guard let context = unsafe context else { return nil }
    unsafe Unmanaged<ThreadStart>.fromOpaque(context).takeRetainedValue().run()
    return nil
}
