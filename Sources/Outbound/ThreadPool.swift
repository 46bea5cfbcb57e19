internal import BlockingWork
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
        startDetachedThread(stackBytes: ThreadPool.stackBytes) { [self] in
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
    }

    private static let stackBytes = 512 << 10
}
