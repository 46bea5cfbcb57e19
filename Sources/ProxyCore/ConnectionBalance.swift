internal import EventLoop
internal import Glibc
internal import Synchronization

/// How many connections each worker of the process holds, and the way to hand one over.
///
/// The kernel spreads connections over the workers' accept queues by a hash, which knows nothing of how long they live.
/// A worker that holds more than 1.25 times the mean hands the next connection it accepts to the one that holds least.
/// The counts are the only thing that workers share; each is written by its worker, and by whoever hands over to it.
public final class ConnectionBalance: Sendable {
    private let members: [Member]

    /// One worker as the others know it.
    final class Member: Sendable {
        /// Connections it holds, with those that are on their way to it.
        let connections = Atomic<Int>(0)
        /// The most it has held since somebody last asked; written by its own thread, and set back by whoever asks.
        let connectionsPeak = Atomic<Int>(0)
        /// False once it drains: from then on nothing is handed to it.
        let isAccepting = Atomic<Bool>(true)
        let mailbox: Mailbox
        private let share: WorkerShare

        init(_ worker: Worker) {
            mailbox = worker.loop.mailbox
            share = WorkerShare(worker)
        }

        /// Runs on the member's own thread.
        func adopt(_ accepted: consuming AcceptedConnection) { share.worker.adopt(accepted) }

        func lookWhetherDrained() { share.worker.finishDrainIfIdle() }
    }

    /// A worker, carried to its own thread and used there alone.
    private final class WorkerShare: @unchecked Sendable {
        unowned let worker: Worker
        init(_ worker: Worker) { self.worker = worker }
    }

    /// Makes the workers know each other; before any of their loops runs. The workers outlive their loops' runs.
    public init(_ workers: [Worker]) {
        members = workers.map(Member.init)
        for (worker, member) in zip(workers, members) { worker.join(self, as: member) }
    }

    var workerCount: Int { members.count }

    /// Connections that all workers hold together; from any thread.
    public var connectionCount: Int { members.reduce(0) { $0 + $1.connections.load(ordering: .relaxed) } }

    /// The most connections that the workers have held since this was last called, each at its own time.
    public func takePeak() -> Int {
        members.reduce(0) { sum, member in
            let held = member.connections.load(ordering: .relaxed)
            return sum + max(held, member.connectionsPeak.exchange(held, ordering: .relaxed))
        }
    }

    /// The member that should take the connection that `own` has just accepted; `nil`: `own` itself.
    func betterPlace(than own: Member) -> Member? {
        guard members.count > 1 else { return nil }
        let held = own.connections.load(ordering: .relaxed)
        var total = 0
        var least = own
        var leastHeld = held
        for member in members {
            let connections = member.connections.load(ordering: .relaxed)
            total += connections
            if connections < leastHeld {
                least = member
                leastHeld = connections
            }
        }
        return least !== own && ConnectionBalance.isTooMany(held, of: total, workers: members.count) ? least : nil
    }

    /// Whether `held` is more than 1.25 times the mean.
    static func isTooMany(_ held: Int, of total: Int, workers: Int) -> Bool { held * workers * 4 > total * 5 }

    /// Hands a connection over; gives it back when the member has begun to drain.
    func hand(_ accepted: consuming AcceptedConnection, to member: Member) -> AcceptedConnection? {
        // Counted first and looked second, while the member stores first and counts second: either it sees this
        // connection on its way, or this thread sees that it drains.
        member.connections.add(1, ordering: .sequentiallyConsistent)
        guard member.isAccepting.load(ordering: .sequentiallyConsistent) else {
            member.connections.subtract(1, ordering: .sequentiallyConsistent)
            member.mailbox.post { _ in member.lookWhetherDrained() }
            return accepted
        }
        let parcel = Parcel(accepted)
        member.mailbox.post { _ in if let accepted = parcel.take() { member.adopt(accepted) } }
        return nil
    }

    /// Carries what must not be copied through a mailbox.
    private final class Parcel: Sendable {
        private let content: Mutex<AcceptedConnection?>
        init(_ accepted: consuming AcceptedConnection) { content = Mutex(accepted) }
        func take() -> AcceptedConnection? { content.withLock { $0.take() } }
    }
}

/// A connection as `accept` gave it, before any worker has read from it.
struct AcceptedConnection: ~Copyable, Sendable {
    var descriptor: Descriptor
    var place: ConnectionPlace
    /// The socket's, until a proxy has said another.
    var peer: IPAddress
    var peerPort: UInt16
    /// Of the listener that accepted it.
    let settings: ListenerSettings
    /// The worker that accepted it, once another one was to serve it.
    var sender: ConnectionBalance.Member?
    /// The other one had no such listener: it came back, and is not handed over again.
    var isReturned = false
}
