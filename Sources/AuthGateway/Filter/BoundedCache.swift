/// A bounded map of one worker that forgets what was not used for long; with a bound of 0 it holds nothing.
///
/// Two dictionaries: a look-up that hits the older one moves the entry over; when the newer one holds half the bound,
/// it becomes the older one and what was in that is forgotten. No entry is evicted before half the bound of others was
/// used after it.
struct BoundedCache<Key: Hashable, Value> {
    private var newer: [Key: Value] = [:]
    private var older: [Key: Value] = [:]
    private let entriesMax: Int
    private let halfMax: Int

    init(entriesMax: Int) {
        self.entriesMax = entriesMax
        halfMax = max(1, entriesMax / 2)
    }

    var count: Int { newer.count + older.count }

    mutating func value(for key: Key) -> Value? {
        if let value = newer[key] { return value }
        guard let value = older.removeValue(forKey: key) else { return nil }
        insert(value, for: key)
        return value
    }

    mutating func insert(_ value: Value, for key: Key) {
        guard entriesMax > 0 else { return }
        if newer.count >= halfMax, newer[key] == nil {
            older = entriesMax > 1 ? newer : [:]
            newer = [:]
        }
        older[key] = nil
        newer[key] = value
    }

    mutating func remove(_ key: Key) {
        newer[key] = nil
        older[key] = nil
    }

    mutating func removeAll() {
        newer = [:]
        older = [:]
    }
}
