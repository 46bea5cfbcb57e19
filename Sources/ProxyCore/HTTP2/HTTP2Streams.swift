/// What is known of one stream besides its framing.
struct HTTP2Stream: Equatable {
    /// Its identifier.
    let number: Int32
    /// The body's length by `content-length`, and what of it has come.
    var declared: UInt64?
    var received: UInt64 = 0
    /// The last byte of a body that is complete by its length, until the stream's end is there too.
    var heldBack: UInt8?
    /// An exchange works on it.
    var isHeld = true
    /// Bytes pass both ways without being a message (RFC 8441).
    var isTunnel = false
    /// Body bytes are thrown away as they come.
    var discards = false
    var requestEnded = false
    /// The final head of the answer was submitted; all of the answer; and its last byte was written.
    var hasResponded = false
    var isAnswered = false
    var responseSent = false
    /// It was reset by us.
    var wasReset = false
    /// nghttp2 has let go of it.
    var isClosed = false

    init(number: Int32) { self.number = number }
}

/// The streams of one connection that are open or that an exchange works on, in the order of their numbers, which is
/// the order in which clients may open them.
struct HTTP2Streams {
    /// How many an exchange works on.
    private(set) var heldCount = 0
    private var entries: [HTTP2Stream] = []

    var count: Int { entries.count }

    subscript(number: Int32) -> HTTP2Stream? { index(of: number).map { entries[$0] } }

    /// Adds one that is held; its number is higher than all before.
    mutating func append(_ stream: HTTP2Stream) {
        precondition(stream.isHeld && entries.last?.number ?? 0 < stream.number)
        entries.append(stream)
        heldCount += 1
    }

    /// Changes one and returns what it is then; `nil`: there is none of that number.
    @discardableResult
    mutating func update(_ number: Int32, _ change: (inout HTTP2Stream) -> Void) -> HTTP2Stream? {
        guard let index = index(of: number) else { return nil }
        change(&entries[index])
        return entries[index]
    }

    /// No exchange works on it any more, and what still comes is for nobody; `nil`: none did.
    mutating func release(_ number: Int32) -> HTTP2Stream? {
        guard let index = index(of: number), entries[index].isHeld else { return nil }
        entries[index].isHeld = false
        entries[index].discards = true
        heldCount -= 1
        return entries[index]
    }

    /// Forgets one that is not held.
    mutating func remove(_ number: Int32) {
        guard let index = index(of: number) else { return }
        precondition(!entries[index].isHeld)
        entries.remove(at: index)
    }

    private func index(of number: Int32) -> Int? {
        var low = 0
        var high = entries.count
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].number < number { low = middle + 1 } else { high = middle }
        }
        return low < entries.count && entries[low].number == number ? low : nil
    }
}
