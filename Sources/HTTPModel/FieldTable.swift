/// One field line of a head, as offsets into the connection's bytes.
public struct FieldLine: Equatable, Sendable {
    /// The name as it was sent.
    public var name: ByteRange
    /// The value without the blanks around it; may be empty.
    public var value: ByteRange
    /// Which field it is, whatever the case of its letters.
    public var known: KnownField
    /// Whether the line is left out when the head is passed on.
    public var isDropped = false
    /// Whether the name holds a byte that is no letter, digit or `-`, so that some server may take it for another name.
    public var hasUnusualName: Bool

    /// Memberwise.
    public init(name: ByteRange, value: ByteRange, known: KnownField, hasUnusualName: Bool) {
        self.name = name
        self.value = value
        self.known = known
        self.hasUnusualName = hasUnusualName
    }
}

/// The field lines of a head, in the order they came. Its room is allocated once and reused for every head.
@safe public struct FieldTable: ~Copyable {
    /// The most lines it can hold.
    public let capacity: Int
    /// The number of lines it holds.
    public private(set) var count = 0
    private let lines: UnsafeMutablePointer<FieldLine>

    /// An empty table; `capacity` is at least 1.
    public init(capacity: Int = 128) {
        precondition(capacity > 0)
        self.capacity = capacity
        // Owned by this value alone and freed by its deinit. FieldLine is trivial: no element needs to be destroyed.
        unsafe lines = UnsafeMutablePointer<FieldLine>.allocate(capacity: capacity)
    }

    deinit { unsafe lines.deallocate() }

    /// The line at `index`, which must be below `count`.
    public subscript(index: Int) -> FieldLine {
        get {
            precondition(index >= 0 && index < count)
            // Below count: within the allocation, and initialised by append.
            return unsafe lines[index]
        }
        set {
            precondition(index >= 0 && index < count)
            // Below count: within the allocation, and initialised by append.
            unsafe lines[index] = newValue
        }
    }

    /// Adds a line at the end; false when the table is full.
    @discardableResult
    public mutating func append(_ line: FieldLine) -> Bool {
        guard count < capacity else { return false }
        // Below capacity: within the allocation.
        unsafe (lines + count).initialize(to: line)
        count += 1
        return true
    }

    /// Forgets all lines and keeps the room.
    public mutating func removeAll() { count = 0 }

    /// The index of the first line of a known field, or nil.
    public func firstIndex(of known: KnownField) -> Int? {
        var index = 0
        while index < count {
            if self[index].known == known { return index }
            index += 1
        }
        return nil
    }
}
