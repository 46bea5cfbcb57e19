internal import Dispatch
internal import Synchronization

/// A bounded queue between tasks that must not block and the threads that own the connections.
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

    /// Adds a job; `false` when the queue is full or closed.
    func add(_ job: Job) -> Bool {
        let isAdded = state.withLock { state in
            guard !state.isClosed, state.waiting.count < capacity else { return false }
            state.waiting.append(job)
            return true
        }
        if isAdded { wakeUps.signal() }
        return isAdded
    }

    /// At most `max` of the oldest jobs, and at least one; blocks. `nil` once the queue is closed and empty.
    func next(max: Int) -> ArraySlice<Job>? {
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
    func close() {
        state.withLock { $0.isClosed = true }
        wakeUps.signal()
    }
}
