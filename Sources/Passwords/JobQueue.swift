internal import Dispatch
internal import Synchronization

/// A bounded queue between tasks that must not block and threads that may.
final class JobQueue<Job: Sendable>: Sendable {
    private struct State {
        var waiting: [Job] = []
        var isClosed = false
    }
    private let state = Mutex(State())
    /// Counts jobs that were added, and threads to wake after `close`.
    private let wakeUps = DispatchSemaphore(value: 0)
    private let capacity: Int

    init(capacity: Int) { self.capacity = capacity }

    /// Adds a job; `false` when the queue is full or closed. `isDead` finds jobs that nobody waits for any more:
    /// they make room before anyone is turned away.
    func add(_ job: Job, droppingWhere isDead: (Job) -> Bool) -> Bool {
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

    /// The oldest job, when there is one; blocks. `nil` once the queue is closed and empty.
    func next() -> Job? {
        while true {
            wakeUps.wait()
            let (job, isClosed) = state.withLock { state in
                (state.waiting.isEmpty ? nil : state.waiting.removeFirst(), state.isClosed)
            }
            if let job { return job }
            if isClosed {
                wakeUps.signal()  // passes the news on to the next thread
                return nil
            }
        }
    }

    /// Refuses new jobs; the threads end when the old ones are done.
    func close() {
        state.withLock { $0.isClosed = true }
        wakeUps.signal()
    }
}
