internal import EventLoop

/// The TLS handshakes under way at one listener of one worker, oldest first, so that there are never more than there may
/// be.
///
/// Beyond the cap the oldest makes room for the newest, so that whoever opens connections and never finishes displaces
/// himself. Those that have said nothing go first: a sound client sends its first flight as soon as it is connected. Only
/// then those that were answered and are late, and before either is due newcomers wait to be accepted. All of it costs the
/// same however many there are.
struct HandshakeQueue<Connection: AnyObject> {
    /// One handshake under way; belongs to its connection, which takes it out.
    final class Place {
        unowned let connection: Connection
        /// When it was accepted, or answered.
        fileprivate(set) var since: MonotonicInstant
        fileprivate(set) var isAnswered = false
        fileprivate var newer: Place?
        fileprivate unowned var older: Place?

        fileprivate init(_ connection: Connection, at now: MonotonicInstant) {
            self.connection = connection
            since = now
        }
    }

    private struct List {
        var oldest: Place?
        unowned var newest: Place?

        mutating func append(_ place: Place) {
            place.older = newest
            if let newest { newest.newer = place } else { oldest = place }
            newest = place
        }

        mutating func remove(_ place: Place) {
            let (older, newer) = (place.older, place.newer)
            (place.older, place.newer) = (nil, nil)
            if let older { older.newer = newer } else { oldest = newer }
            if let newer { newer.older = older } else { newest = older }
        }
    }

    private var silent = List()
    private var answered = List()
    private(set) var count = 0
    /// When this turn of the loop began, and an earlier one: what had arrived by then has been looked at, however long a
    /// turn takes.
    private var turns = (last: MonotonicInstant(nanoseconds: 0), this: MonotonicInstant(nanoseconds: 0))

    mutating func add(_ connection: Connection, at now: MonotonicInstant) -> Place {
        let place = Place(connection, at: now)
        silent.append(place)
        count += 1
        return place
    }

    /// The client has sent its first flight, and has ours.
    mutating func wasAnswered(_ place: Place, at now: MonotonicInstant) {
        guard !place.isAnswered else { return }
        silent.remove(place)
        place.isAnswered = true
        place.since = now
        answered.append(place)
    }

    mutating func remove(_ place: Place) {
        if place.isAnswered { answered.remove(place) } else { silent.remove(place) }
        count -= 1
    }

    /// Whether one more may come: beyond `max`, only where another had its time.
    func hasRoom(for max: Int) -> Bool { count < max || late != nil }

    /// To be called before others are asked whether they are late.
    mutating func turnBegan(at now: MonotonicInstant) { if now > turns.this { turns = (turns.this, now) } }

    /// The one that makes room for a newcomer, which is not among them yet; `nil` below `max`.
    func displaced(for max: Int) -> Connection? {
        guard count >= max else { return nil }
        return (late ?? silent.oldest ?? answered.oldest)?.connection
    }

    private var late: Place? {
        if let place = silent.oldest, turns.last.nanoseconds(since: place.since) >= Self.silenceMax { return place }
        if let place = answered.oldest, turns.last.nanoseconds(since: place.since) >= Self.roundTripMax { return place }
        return nil
    }

    /// What a client may take, while others wait, from its connection to its first flight, and what one that was answered
    /// may take to finish; sound ones need a tenth of it.
    static var silenceMax: UInt64 { 20_000_000 }
    static var roundTripMax: UInt64 { 300_000_000 }
}
