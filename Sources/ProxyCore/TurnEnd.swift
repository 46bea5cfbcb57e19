internal import EventLoop

/// What the handlers of one turn of the loop have to send, sent when all of them have run.
///
/// A turn that first reads and decides, and then sends, goes through the gateway's own code for many requests in a row
/// and through the kernel's for many in a row: each finds the code in the processor's caches. The peer is woken once for
/// several connections, and what becomes ready for one connection within a turn leaves in one system call.
final class TurnEnd {
    private let loop: EventLoop
    private var requests: [UpstreamConnection] = []
    private var answers: [DownstreamConnection] = []
    private var sessions: [HTTP2Connection] = []
    // Two arrays take turns, so that neither is copied while what is sent makes others join.
    private var requestsRunning: [UpstreamConnection] = []
    private var answersRunning: [DownstreamConnection] = []
    private var sessionsRunning: [HTTP2Connection] = []
    private var isDue = false
    /// Made once: a closure for each turn would be an allocation for each turn. Nor is it ever read from an optional
    /// and stored again, because each passage through something generic wraps it once more.
    private var action: () -> Void = {}

    init(_ loop: EventLoop) {
        self.loop = loop
        action = { [unowned self] in run() }
    }

    /// The connection has a request to send.
    func add(_ connection: UpstreamConnection) {
        requests.append(connection)
        arrange()
    }

    /// The connection has gathered answers.
    func add(_ connection: DownstreamConnection) {
        answers.append(connection)
        arrange()
    }

    /// The session may have frames to send.
    func add(_ connection: HTTP2Connection) {
        sessions.append(connection)
        arrange()
    }

    private func arrange() {
        guard !isDue else { return }
        isDue = true
        loop.atEndOfTurn(action)
    }

    private func run() {
        isDue = false
        if !requests.isEmpty {
            swap(&requests, &requestsRunning)
            for connection in requestsRunning { connection.sendRequest() }
            requestsRunning.removeAll(keepingCapacity: true)
        }
        if !answers.isEmpty {
            swap(&answers, &answersRunning)
            for connection in answersRunning { connection.sendGathered() }
            answersRunning.removeAll(keepingCapacity: true)
        }
        if !sessions.isEmpty {
            swap(&sessions, &sessionsRunning)
            for connection in sessionsRunning { connection.flush() }
            sessionsRunning.removeAll(keepingCapacity: true)
        }
    }
}
