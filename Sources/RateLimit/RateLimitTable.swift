/// Buckets by key, in one open-addressing table of bounded size; belongs to one lock.
///
/// A full bucket needs no entry, so an entry expires when its bucket is full again. Each use looks at a few slots and
/// removes what has expired, so that no use pays for all.
///
/// **When every entry is live and the table is full**, a new key takes the place of the one nearest to expiry out of a
/// few. That must not hand anybody a fresh bucket, neither the key that went nor the one that came: the table
/// remembers, for each rule, the latest `fullAt` it has thrown away, and a key without an entry starts from there. A
/// key that was thrown out and comes back can only find less than it had, never more; keys that find no place share
/// what one bucket gives. Once that instant has passed, the memory of it is gone too.
struct RateLimitTable {
    /// Entries in use.
    private(set) var count = 0

    private let entriesMax: Int
    private let capacityMax: Int
    private var slots: [Entry]
    /// Where the search for expired entries goes on.
    private var cursor = 0
    /// The latest time seen: a caller whose clock reading is a little older must not see entries come back to life.
    private var now: UInt64 = 0
    /// One for each rule that lost a live entry; as many as the file has rules, at the most.
    private var floors: [Floor] = []

    private struct Entry {
        var high: UInt64
        var low: UInt64
        /// Zero marks an empty slot; a live entry is full later than some time that has passed.
        var fullAt: UInt64
        var rule: UInt32

        static let empty = Entry(high: 0, low: 0, fullAt: 0, rule: 0)
    }

    private struct Floor {
        let rule: UInt32
        var fullAt: UInt64
    }

    init(entriesMax: Int) {
        self.entriesMax = entriesMax
        // At most four fifths of the slots are used, and at least one is empty: searches end at an empty slot.
        capacityMax = entriesMax + entriesMax / 4 + 2
        slots = Array(repeating: .empty, count: min(16, capacityMax))
    }

    mutating func take(_ rule: RateLimitRule, key: RateLimitKey, now given: UInt64) -> RateLimitOutcome {
        now = max(now, min(given, RateLimitState.nowMax))
        reclaim()
        // A changed rule is another rule here: its buckets need not be as slow to fill as the old one's.
        let ruleTag = key.rule ^ UInt32(truncatingIfNeeded: rule.span &* 31 &+ rule.interval)
        let slot = find(high: key.high, low: key.low)
        var state = RateLimitState(fullAt: slots[slot].fullAt)
        if state.fullAt != 0 {
            let outcome = state.take(rule, at: now)
            slots[slot].fullAt = state.fullAt
            slots[slot].rule = ruleTag
            return outcome
        }
        if !floors.isEmpty { state.fullAt = floor(of: ruleTag) }
        let outcome = state.take(rule, at: now)
        // A key that is limited by what others used gets no entry: turning away must not turn out somebody else.
        guard case .allowed = outcome else { return outcome }
        insert(Entry(high: key.high, low: key.low, fullAt: state.fullAt, rule: ruleTag), at: slot)
        return outcome
    }

    // MARK: Making room

    private mutating func insert(_ entry: Entry, at empty: Int) {
        var slot = empty
        if count >= entriesMax {
            evict()
            slot = find(high: entry.high, low: entry.low)
        } else if (count + 1) * 5 > slots.count * 4 {
            rebuild()
            slot = find(high: entry.high, low: entry.low)
        }
        slots[slot] = entry
        count += 1
    }

    private mutating func reclaim() {
        for _ in 0..<RateLimitTable.slotsPerUse {
            advanceCursor()
            let fullAt = slots[cursor].fullAt
            if fullAt != 0, fullAt <= now { remove(at: cursor) }
        }
    }

    private mutating func evict() {
        var victim: Int?
        var seen = 0
        while seen < RateLimitTable.evictionChoice {
            advanceCursor()
            guard slots[cursor].fullAt != 0 else { continue }
            seen += 1
            if let best = victim, slots[best].fullAt <= slots[cursor].fullAt { continue }
            victim = cursor
        }
        guard let victim else { return }
        if slots[victim].fullAt > now { raiseFloor(of: slots[victim].rule, to: slots[victim].fullAt) }
        remove(at: victim)
    }

    /// Drops what has expired, and doubles the table unless that alone made it half empty.
    private mutating func rebuild() {
        let old = slots
        let live = old.reduce(0) { $0 + ($1.fullAt > now ? 1 : 0) }
        let capacity = live * 2 < old.count ? old.count : min(old.count * 2, capacityMax)
        slots = Array(repeating: .empty, count: capacity)
        cursor = 0
        for entry in old where entry.fullAt > now { slots[find(high: entry.high, low: entry.low)] = entry }
        count = live
    }

    private mutating func raiseFloor(of rule: UInt32, to fullAt: UInt64) {
        let now = now
        floors.removeAll { $0.fullAt <= now }
        if let index = floors.firstIndex(where: { $0.rule == rule }) {
            floors[index].fullAt = max(floors[index].fullAt, fullAt)
        } else {
            floors.append(Floor(rule: rule, fullAt: fullAt))
        }
    }

    private func floor(of rule: UInt32) -> UInt64 { floors.first { $0.rule == rule }?.fullAt ?? 0 }

    // MARK: Open addressing

    /// The slot of the key, or the empty slot where it belongs.
    private func find(high: UInt64, low: UInt64) -> Int {
        var slot = home(low)
        while slots[slot].fullAt != 0, slots[slot].high != high || slots[slot].low != low { slot = next(slot) }
        return slot
    }

    /// Empties a slot and closes the gap, so that a search never meets an empty slot before what it looks for.
    private mutating func remove(at removed: Int) {
        var gap = removed
        var slot = next(removed)
        while slots[slot].fullAt != 0 {
            if distance(from: home(slots[slot].low), to: slot) >= distance(from: gap, to: slot) {
                slots[gap] = slots[slot]
                gap = slot
            }
            slot = next(slot)
        }
        slots[gap] = .empty
        count -= 1
    }

    /// Evenly spread over any number of slots: the hash as a fraction of the table.
    private func home(_ low: UInt64) -> Int { Int(low.multipliedFullWidth(by: UInt64(slots.count)).high) }
    private func next(_ slot: Int) -> Int { slot + 1 == slots.count ? 0 : slot + 1 }
    private func distance(from: Int, to: Int) -> Int { to >= from ? to - from : to + slots.count - from }
    private mutating func advanceCursor() { cursor = next(cursor) }

    private static let slotsPerUse = 2
    /// Live entries looked at before one of them goes.
    private static let evictionChoice = 16
}
