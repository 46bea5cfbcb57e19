internal import Dispatch
internal import Synchronization

/// A bounded queue between tasks that must not block and threads that may.
public final class JobQueue<Job: Sendable>: Sendable {
    private struct State {
        var waiting: [Job] = []
        var isClosed = false
    }
    private let state = Mutex(State())
    /// Counts jobs that were added, and threads to wake after `close`.
    private let wakeUps = DispatchSemaphore(value: 0)
    private let capacity: Int

    /// - Parameter capacity: jobs that may wait.
    public init(capacity: Int) { self.capacity = capacity }

    /// Adds a job; `false` when the queue is full or closed. `isDead` finds jobs that nobody waits for any more: they
    /// make room before anyone is turned away.
    public func add(_ job: Job, droppingWhere isDead: (Job) -> Bool = { _ in false }) -> Bool {
        let isAdded = state.withLock { state in
            guard !state.isClosed else { return false }
            if state.waiting.count >= capacity { state.waiting.removeAll(where: isDead) }
            guard state.waiting.count < capacity else { return false }
            state.waiting.append(job)
            return true
        }
        if isAdded { wakeUps.signal() }
        return isAdded
    }

    /// The oldest job; blocks until there is one. `nil` once the queue is closed and empty.
    public func next() -> Job? { next(max: 1)?.first }

    /// At most `max` of the oldest jobs, and at least one; blocks. `nil` once the queue is closed and empty.
    public func next(max: Int) -> ArraySlice<Job>? {
        while true {
            wakeUps.wait()
            let (jobs, isClosed) = state.withLock { state in
                let jobs = state.waiting.prefix(max)
                state.waiting.removeFirst(jobs.count)
                return (jobs, state.isClosed)
            }
            if !jobs.isEmpty { return jobs }  // wake-ups of the others of a batch find nothing, and wait again
            if isClosed {
                wakeUps.signal()  // passes the news on to the next thread
                return nil
            }
        }
    }

    /// Refuses new jobs; the threads end when the old ones are done.
    public func close() {
        state.withLock { $0.isClosed = true }
        wakeUps.signal()
    }
}
