internal import Glibc

/// Bytes waiting to be parsed or sent: a growing region of raw memory with one owner.
///
/// `bytes` is what was appended and not yet consumed. Growth doubles; nothing shrinks before `release`.
///
/// Heads are written by some forty small appends. Those of literals, bytes and digits are `@inlinable`: they become
/// stores at their place in other modules too, which saves a plain exchange (S12) 850 instructions.
@safe public struct ByteBuffer: ~Copyable {
    // Owned: allocated here, freed in deinit or handed over whole; nil exactly when capacity is 0.
    @usableFromInline private(set) var base: UnsafeMutableRawPointer?
    @usableFromInline private(set) var capacity: Int
    private var start = 0
    @usableFromInline var end = 0

    /// An empty buffer; without a capacity it owns no memory until the first append.
    public init(capacity: Int = 0) {
        self.capacity = capacity
        unsafe base = capacity > 0 ? ByteBuffer.allocate(capacity) : nil
    }

    deinit { if capacity > 0 { unsafe ByteBuffer.deallocate(base, capacity) } }

    /// Bytes held.
    @inline(__always) public var count: Int { end - start }
    /// Whether no byte is held.
    @inline(__always) public var isEmpty: Bool { start == end }

    /// The bytes held, valid until the next change.
    public var bytes: Span<UInt8> {
        @_lifetime(borrow self)
        get {
            // Within base..<base+capacity, initialised by the appends.
            let pointer = unsafe UnsafeRawBufferPointer(start: base, count: end)
            let region = unsafe UnsafeRawBufferPointer(rebasing: pointer[start..<end])
            let span = unsafe Span<UInt8>(_unsafeBytes: region)
            return unsafe _overrideLifetime(span, borrowing: self)
        }
    }

    /// Calls `body` with the bytes held: for a buffer that is a class's property, whose span cannot leave an access.
    public borrowing func withBytes<Result>(_ body: (Span<UInt8>) -> Result) -> Result { body(bytes) }

    /// Drops bytes from the front.
    public mutating func consume(_ byteCount: Int) {
        precondition(byteCount >= 0 && byteCount <= count)
        start += byteCount
        if start == end {
            start = 0
            end = 0
        }
    }

    /// Drops everything, keeps the memory.
    public mutating func removeAll() {
        start = 0
        end = 0
    }

    /// Drops everything and gives the memory back.
    public mutating func release() {
        if capacity > 0 { unsafe ByteBuffer.deallocate(base, capacity) }
        unsafe base = nil
        capacity = 0
        start = 0
        end = 0
    }

    /// Moves the contents and the memory out, leaving an empty buffer.
    public mutating func take() -> ByteBuffer {
        var other = ByteBuffer()
        swap(&self, &other)
        return other
    }

    /// Makes room for `byteCount` more bytes behind the last one.
    @inlinable @inline(__always) public mutating func reserve(_ byteCount: Int) {
        if capacity - end < byteCount { makeRoom(byteCount) }
    }

    @usableFromInline mutating func makeRoom(_ byteCount: Int) {
        let held = count
        if start > 0, capacity - held >= byteCount, held <= start {
            // Both ranges lie within the region and do not overlap, since held <= start.
            if let base = unsafe base { unsafe memcpy(base, base + start, held) }
        } else {
            let grown = max(capacity * 2, held + byteCount, 512)
            let region = unsafe ByteBuffer.allocate(grown)
            // The new region is the larger one.
            if let base = unsafe base { unsafe memcpy(region, base + start, held) }
            if capacity > 0 { unsafe ByteBuffer.deallocate(base, capacity) }
            unsafe base = region
            capacity = grown
        }
        start = 0
        end = held
    }

    /// Without memory nothing can go on here, and to lose bytes in silence would be worse.
    private static func allocate(_ byteCount: Int) -> UnsafeMutableRawPointer {
        guard let region = unsafe malloc(byteCount) else { preconditionFailure("out of memory") }
        MemoryAccount.add(byteCount)
        return unsafe region
    }

    /// Takes back what `allocate` gave.
    fileprivate static func deallocate(_ region: UnsafeMutableRawPointer?, _ byteCount: Int) {
        unsafe free(region)
        MemoryAccount.add(-byteCount)
    }

    /// Lets `fill` write into the free space, at least `minimum` bytes of it; it returns how many it wrote.
    /// A negative result is passed on and appends nothing.
    public mutating func fillFreeSpace(
        minimum: Int, maximum: Int = .max, _ fill: (UnsafeMutableRawBufferPointer) -> Int
    ) -> Int {
        reserve(minimum)
        let room = min(capacity - end, maximum)
        // The region behind `end` is ours and at least `minimum` long.
        let region = unsafe UnsafeMutableRawBufferPointer(start: base.map { unsafe $0 + end }, count: room)
        let written = unsafe fill(region)
        if written > 0 { end += min(written, room) }
        return written
    }

    // MARK: Appending

    /// Appends a copy of the bytes.
    public mutating func append(_ bytes: Span<UInt8>) {
        let byteCount = bytes.count
        guard byteCount > 0 else { return }
        reserve(byteCount)
        unsafe bytes.withUnsafeBufferPointer { source in
            // reserve made room for byteCount; the source is another region, since self is borrowed exclusively.
            if let base = unsafe base, let from = source.baseAddress { unsafe memcpy(base + end, from, byteCount) }
        }
        end += byteCount
    }

    /// Appends what another buffer holds.
    public mutating func append(contentsOf other: borrowing ByteBuffer) { append(other.bytes) }

    /// Appends part of the bytes.
    @inline(__always) public mutating func append(_ bytes: Span<UInt8>, _ range: Range<Int>) {
        append(bytes.extracting(range))
    }

    /// Appends a literal.
    @inlinable @inline(__always) public mutating func append(_ text: StaticString) {
        let byteCount = text.utf8CodeUnitCount
        reserve(byteCount)
        // A literal's bytes live as long as the program, and reserve made room for them.
        if let base = unsafe base { unsafe (base + end).copyMemory(from: text.utf8Start, byteCount: byteCount) }
        end += byteCount
    }

    /// Appends a string's UTF-8.
    public mutating func append(_ text: String) {
        var text = text
        text.withUTF8 { utf8 in unsafe append(utf8.span) }
    }

    /// Appends an array.
    public mutating func append(_ bytes: [UInt8]) { append(bytes.span) }

    /// Appends one byte.
    @inlinable @inline(__always) public mutating func append(_ byte: UInt8) {
        reserve(1)
        // reserve made room for it.
        unsafe base?.storeBytes(of: byte, toByteOffset: end, as: UInt8.self)
        end += 1
    }

    /// Appends the four bytes of a number in decimal, the highest first, with dots between them.
    public mutating func append(dottedBytes number: UInt32) {
        reserve(16)
        guard let base = unsafe base else { return }
        var position = end
        var shift: UInt32 = 32
        repeat {
            shift -= 8
            let octet = number >> shift & 0xFF
            // Multiplications that stand for divisions in their range.
            let hundreds = (octet &* 41) >> 12
            let rest = octet &- hundreds &* 100
            let tens = (rest &* 103) >> 10
            let digits = hundreds | tens << 8 | (rest &- tens &* 10) << 16
            let zeros: UInt32 = octet >= 100 ? 0 : octet >= 10 ? 1 : 2
            // Three digits and the dot. At most 12 bytes are before them; what is behind them counts for nothing.
            unsafe base.storeBytes(
                of: ((digits | 0x2E30_3030) >> (zeros * 8)).littleEndian, toByteOffset: position, as: UInt32.self)
            position += 4 - Int(zeros)
        } while shift > 0
        // Without the last dot.
        end = position - 1
    }

    /// Appends a number in decimal.
    public mutating func append(decimal number: UInt64) {
        if number < 100_000_000 {
            let digits = ByteBuffer.eightDigits(of: number)
            // All but the last, which stands for a zero alone too.
            let zeros = min(digits.trailingZeroBitCount / 8, 7)
            reserve(8)
            // Within the eight reserved bytes; what is behind the digits counts for nothing.
            unsafe base?.storeBytes(
                of: ((digits | 0x3030_3030_3030_3030) >> UInt64(zeros * 8)).littleEndian, toByteOffset: end,
                as: UInt64.self)
            end += 8 - zeros
            return
        }
        var digits = 1
        var rest = number / 10
        while rest > 0 {
            digits += 1
            rest /= 10
        }
        reserve(digits)
        rest = number
        for position in stride(from: digits - 1, through: 0, by: -1) {
            // Within the reserved digits.
            unsafe base?.storeBytes(
                of: UInt8(ascii: "0") + UInt8(rest % 10), toByteOffset: end + position, as: UInt8.self)
            rest /= 10
        }
        end += digits
    }

    /// The eight decimal digits of a number below 100,000,000 as values 0 to 9, the first in the lowest byte: halves, then
    /// pairs, then digits are parted at once, by multiplications that stand for divisions in their range.
    private static func eightDigits(of number: UInt64) -> UInt64 {
        let halves = number / 10_000 | (number % 10_000) << 32
        let hundreds = (halves &* 10_486) >> 20 & 0x0000_007F_0000_007F
        let pairs = hundreds | (halves &- hundreds &* 100) << 16
        let tens = (pairs &* 103) >> 10 & 0x000F_000F_000F_000F
        return tens | (pairs &- tens &* 10) << 8
    }

    /// Appends 16 digits.
    @inlinable @inline(__always) public mutating func append(_ digits: HexDigits) {
        reserve(16)
        // Within the 16 reserved bytes.
        unsafe base?.storeBytes(of: digits.first, toByteOffset: end, as: UInt64.self)
        unsafe base?.storeBytes(of: digits.last, toByteOffset: end + 8, as: UInt64.self)
        end += 16
    }

    /// Appends a number in lower-case hexadecimal, without leading zeros.
    public mutating func append(hex number: UInt64) {
        var shift = number == 0 ? 0 : (63 - number.leadingZeroBitCount) & ~3
        while shift >= 0 {
            let digit = UInt8((number >> UInt64(shift)) & 15)
            append(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
            shift -= 4
        }
    }
}

/// Memory for buffers that come and go with each request; belongs to one thread.
@safe public final class ByteBufferPool {
    /// In bytes.
    public let bufferCapacity: Int
    private let spareMax: Int
    // Owned: each came from a buffer that was given back with exactly `bufferCapacity` bytes.
    private var spare: [UnsafeMutableRawPointer] = unsafe []

    /// A pool of buffers of one capacity in bytes, keeping at most so many that are not in use.
    public init(bufferCapacity: Int, spareMax: Int) {
        self.bufferCapacity = bufferCapacity
        self.spareMax = spareMax
        unsafe spare.reserveCapacity(spareMax)
    }

    deinit { removeSpare() }

    /// How many buffers are kept that are not in use.
    public var spareCount: Int { unsafe spare.count }

    /// Gives the memory of buffers that are not in use back.
    public func removeSpare() {
        while let region = unsafe spare.popLast() { unsafe ByteBuffer.deallocate(region, bufferCapacity) }
    }

    /// Whether a buffer has the size of this pool's.
    public func fits(_ buffer: borrowing ByteBuffer) -> Bool { buffer.regionByteCount == bufferCapacity }

    /// An empty buffer of the pool's capacity.
    public func take() -> ByteBuffer {
        guard let region = unsafe spare.popLast() else { return ByteBuffer(capacity: bufferCapacity) }
        return unsafe ByteBuffer(adopting: region, capacity: bufferCapacity)
    }

    /// Takes a buffer back; one that grew is freed.
    public func give(_ buffer: consuming ByteBuffer) {
        guard unsafe spare.count < spareMax, let region = unsafe buffer.surrender(capacity: bufferCapacity) else {
            return
        }
        unsafe spare.append(region)
    }
}

extension ByteBuffer {
    fileprivate init(adopting region: UnsafeMutableRawPointer, capacity: Int) {
        unsafe base = region
        self.capacity = capacity
    }

    fileprivate mutating func surrender(capacity wanted: Int) -> UnsafeMutableRawPointer? {
        guard capacity == wanted else { return nil }
        let region = unsafe base
        unsafe base = nil
        capacity = 0
        start = 0
        end = 0
        return unsafe region
    }

    fileprivate var regionByteCount: Int { capacity }

    /// Whether the buffer owns memory at all.
    public var hasMemory: Bool { capacity > 0 }
}
