internal import CLinux
internal import Glibc
internal import Synchronization

/// The one door into a loop from other threads: jobs that run on the loop's thread, in order.
///
/// A job may outlive what it was meant for; it carries a `Registration` and asks the loop whether that still stands.
public final class Mailbox: Sendable {
    /// Runs on the loop's thread.
    public typealias Job = @Sendable (EventLoop) -> Void

    let wakeUp: Descriptor
    private let jobs = Mutex<[Job]>([])

    init() throws(SystemError) {
        let number = eventfd(0, clinux_eventfd_flags())
        guard number >= 0 else { throw SystemError("eventfd") }
        wakeUp = Descriptor(adopting: number)
    }

    /// Hands a job over. Callers bound what they have under way; the queue itself does not refuse.
    public func post(_ job: @escaping Job) {
        let wasEmpty = jobs.withLock { jobs in
            jobs.append(job)
            return jobs.count == 1
        }
        guard wasEmpty else { return }
        var one: UInt64 = 1
        // The counter cannot overflow: it is written once for each time the queue becomes non-empty.
        _ = unsafe Glibc.write(wakeUp.number, &one, 8)
    }

    func takeAll() -> [Job] {
        var count: UInt64 = 0
        _ = unsafe Glibc.read(wakeUp.number, &count, 8)
        return jobs.withLock { jobs in
            let taken = jobs
            jobs = []
            return taken
        }
    }
}
