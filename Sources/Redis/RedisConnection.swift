public import EventLoop

/// How things stand with a server.
public enum RedisConnectionState: Sendable, Equatable {
    /// An attempt is under way; commands wait for it.
    case connecting
    case ready
    /// The last attempt failed; commands fail at once until the next one.
    case waiting(reason: String)
    case closed
}

/// One server for one worker: commands go out pipelined, answers come back in order, and a lost connection is made
/// again after a pause.
///
/// Everything happens on the loop's thread. A command whose connection fails has failed: it is never sent again, since
/// nobody knows whether the server carried it out.
public final class RedisConnection {
    /// Called after each change.
    public var stateChanged: ((RedisConnectionState) -> Void)?
    /// How things stand now.
    public private(set) var state = RedisConnectionState.closed

    private let loop: EventLoop
    private var settings: RedisSettings
    private let input = InputBuffer()
    private var link: RedisLink?
    private var readySince: MonotonicInstant?
    private var pause: ReconnectPause
    private let alarm: Alarm
    private let alarmRegistration: Registration
    private var addressIndex = 0
    private var failuresInRound = 0
    private var lastReason = ""
    private var chance = SystemRandomNumberGenerator()

    /// Makes a connection that stays closed until `start`.
    public init(settings: RedisSettings, loop: EventLoop) {
        self.loop = loop
        self.settings = settings
        pause = ReconnectPause(
            shortest: settings.pauseMin.clampedNanoseconds, longest: settings.pauseMax.clampedNanoseconds)
        alarm = Alarm()
        alarmRegistration = loop.register(handler: alarm)
        alarm.connection = self
    }

    deinit {
        close()
        loop.end(alarmRegistration)
    }

    /// Begins to connect, and goes on trying until `close`.
    public func start() {
        guard state == .closed else { return }
        pause.reset()
        failuresInRound = 0
        attempt()
    }

    /// Takes new addresses for the attempts to come, as after a name was resolved again.
    public func use(addresses: [RedisAddress]) {
        settings.addresses = addresses
        addressIndex = 0
    }

    /// Sends a command; `completion` is called once, on the loop's thread, never before this returns.
    ///
    /// When it throws, nothing was queued and `completion` is not called: there is no connection, or too many commands
    /// wait. An error reply of the server is a failure too (`RedisError.refused`).
    public func send(
        _ command: RedisCommand, deadline: MonotonicInstant,
        completion: @escaping (Result<RedisReply, RedisError>) -> Void
    ) throws(RedisError) {
        guard let link else {
            if case .waiting(let reason) = state { throw .notConnected(reason: reason) }
            throw .closed
        }
        try link.send(command, deadline: deadline, completion: completion)
    }

    /// Ends it: what waits fails with `RedisError.closed`.
    public func close() {
        guard state != .closed else { return }
        loop.clearDeadline(for: alarmRegistration)
        let ending = link
        link = nil
        change(to: .closed)
        ending?.fail(.closed, reason: "closed")
    }

    // MARK: Attempts

    /// Tries addresses until an attempt is under way, or all of them have failed in this round.
    fileprivate func attempt() {
        change(to: .connecting)
        // Whoever hears of a change may close the connection.
        while state == .connecting, failuresInRound < settings.addresses.count {
            let address = settings.addresses[addressIndex % settings.addresses.count]
            do throws(SystemError) {
                link = try RedisLink(to: address, settings: settings, loop: loop, input: input, owner: self)
                return
            } catch {
                noteFailure(reason: error.description)
            }
        }
        guard state == .connecting else { return }
        wait(reason: settings.addresses.isEmpty ? "no address" : lastReason)
    }

    private func noteFailure(reason: String) {
        addressIndex = (addressIndex + 1) % max(1, settings.addresses.count)
        failuresInRound += 1
        lastReason = reason
    }

    private func wait(reason: String) {
        failuresInRound = 0
        let length = pause.next(random: chance.next())
        loop.setDeadline(loop.now.advanced(byNanoseconds: length), for: alarmRegistration)
        change(to: .waiting(reason: reason))
    }

    private func change(to state: RedisConnectionState) {
        guard self.state != state else { return }
        self.state = state
        stateChanged?(state)
    }
}

extension RedisConnection: RedisLinkOwner {
    func linkBecameReady(_ link: RedisLink) {
        guard link === self.link else { return }
        failuresInRound = 0
        readySince = loop.now
        change(to: .ready)
    }

    func linkAnswered(_ link: RedisLink) {
        guard link === self.link else { return }
        pause.reset()
    }

    func linkFailed(_ link: RedisLink, reason: String) {
        guard link === self.link else { return }
        self.link = nil
        noteFailure(reason: reason)
        // A link that was ready goes through a pause, so that a server which drops us at once is not asked in a loop.
        // One that stood long without any command to prove itself counts as good.
        if let readySince {
            if loop.now.nanoseconds(since: readySince) >= settings.pauseMax.clampedNanoseconds { pause.reset() }
            self.readySince = nil
            return wait(reason: reason)
        }
        attempt()
    }
}

/// Wakes a connection without keeping it alive.
private final class Alarm: EventHandler {
    weak var connection: RedisConnection?

    func ready(_ readiness: Readiness) {}
    func deadlinePassed() { connection?.attempt() }
}
