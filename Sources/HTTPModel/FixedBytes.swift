/// Room for bytes that is allocated once and reused.
@safe struct FixedBytes: ~Copyable {
    let capacity: Int
    private(set) var count = 0
    private let start: UnsafeMutablePointer<UInt8>

    init(capacity: Int) {
        precondition(capacity > 0)
        self.capacity = capacity
        // Owned by this value alone and freed by its deinit.
        unsafe start = UnsafeMutablePointer<UInt8>.allocate(capacity: capacity)
    }

    deinit { unsafe start.deallocate() }

    /// The bytes written so far.
    var span: Span<UInt8> {
        @_lifetime(borrow self)
        get {
            // The first count bytes are initialised, and stay as long as self is borrowed.
            let span = unsafe Span(_unsafeStart: start, count: count)
            return unsafe _overrideLifetime(span, borrowing: self)
        }
    }

    subscript(index: Int) -> UInt8 {
        @inline(__always) get {
            precondition(index >= 0 && index < count)
            // Below count: within the allocation, and written.
            return unsafe start[index]
        }
    }

    @inline(__always)
    mutating func append(_ byte: UInt8) {
        precondition(count < capacity)
        // Below capacity: within the allocation.
        unsafe start[count] = byte
        count += 1
    }

    /// Replaces the contents by `bytes`.
    mutating func assign(_ bytes: Span<UInt8>) {
        precondition(bytes.count <= capacity)
        // Both sides hold bytes.count bytes; a borrowed span cannot overlap the allocation of a mutated buffer.
        unsafe bytes.withUnsafeBufferPointer { source in
            guard let first = source.baseAddress else { return }
            unsafe start.update(from: first, count: source.count)
        }
        count = bytes.count
    }

    /// Replaces the contents by `bytes`, with ASCII letters in lower case.
    mutating func assign(lowercased bytes: Span<UInt8>) {
        precondition(bytes.count <= capacity)
        // Below bytes.count, and so within the allocation.
        for index in bytes.indices { unsafe start[index] = Byte.lowercased(bytes[index]) }
        count = bytes.count
    }

    /// Forgets all but the first `newCount` bytes.
    mutating func truncate(to newCount: Int) {
        precondition(newCount >= 0 && newCount <= count)
        count = newCount
    }
}
