/// Puts a reply together from the items that the protocol's reader comes across, in the order it does.
struct ReplyBuilder {
    private let limits: RedisReplyLimits
    private var open: [OpenArray] = []
    private var elementCount = 0
    private var byteCount = 0
    private var finished: RedisReply?

    private struct OpenArray {
        var missing: Int
        var elements: [RedisReply]
    }

    init(limits: RedisReplyLimits) { self.limits = limits }

    /// Hands over the reply once its last item has come; the next item starts another.
    mutating func take() -> RedisReply? {
        elementCount = 0
        byteCount = 0
        defer { finished = nil }
        return finished
    }

    /// Whether a string of this length still fits; counts it.
    mutating func admits(bytes count: Int) -> Bool {
        guard count <= limits.bulkBytesMax, count <= limits.replyBytesMax - byteCount else { return false }
        byteCount += count
        return true
    }

    /// Starts an array; false when it has too many elements.
    mutating func beginArray(count: Int) -> Bool {
        guard count >= 0, count <= limits.elementsMax - elementCount else { return false }
        elementCount += count
        guard count > 0 else {
            append(.array([]))
            return true
        }
        var elements: [RedisReply] = []
        elements.reserveCapacity(count)
        open.append(OpenArray(missing: count, elements: elements))
        return true
    }

    /// Adds an item; where it is an array's last, the array is an item in its turn.
    mutating func append(_ item: RedisReply) {
        var item = item
        while !open.isEmpty {
            let innermost = open.count - 1
            open[innermost].elements.append(item)
            open[innermost].missing -= 1
            guard open[innermost].missing == 0 else { return }
            item = .array(open.removeLast().elements)
        }
        finished = item
    }
}
