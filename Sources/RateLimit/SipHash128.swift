/// SipHash-2-4 with a result of 128 bits, over whole 64-bit words.
///
/// Keyed, so that nobody who does not know the key can make two inputs meet in one bucket.
struct SipHash128 {
    private var state: (UInt64, UInt64, UInt64, UInt64)
    private var wordCount: UInt64 = 0

    init(key: (UInt64, UInt64)) {
        state = (
            key.0 ^ 0x736f_6d65_7073_6575, key.1 ^ 0x646f_7261_6e64_6f6d ^ 0xee,
            key.0 ^ 0x6c79_6765_6e65_7261, key.1 ^ 0x7465_6462_7974_6573
        )
    }

    /// Appends the eight bytes of a word, the least significant first.
    mutating func append(_ word: UInt64) {
        state.3 ^= word
        scramble(rounds: 2)
        state.0 ^= word
        wordCount &+= 1
    }

    /// Appends the length and then the bytes, filled up with zeros: no two sequences of parts give the same words.
    mutating func append(part bytes: Span<UInt8>) {
        append(UInt64(bytes.count))
        // Any UInt8 is initialised memory; the view lives no longer than the span.
        let raw = unsafe bytes.bytes
        var offset = 0
        while raw.byteCount - offset >= 8 {
            // Within bounds by the line above (the call checks them too); any eight bytes are a UInt64.
            append(unsafe raw.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self).littleEndian)
            offset += 8
        }
        guard offset < bytes.count else { return }
        var last: UInt64 = 0
        var shift: UInt64 = 0
        while offset < bytes.count {
            last |= UInt64(bytes[offset]) << shift
            shift += 8
            offset += 1
        }
        append(last)
    }

    /// The digest's two words, of which the first one's least significant byte comes first in the usual notation.
    consuming func finish() -> (UInt64, UInt64) {
        // The last block holds the count of bytes modulo 256, and no bytes of the input, since words are whole.
        append((wordCount &* 8) << 56)
        state.2 ^= 0xee
        scramble(rounds: 4)
        let first = state.0 ^ state.1 ^ state.2 ^ state.3
        state.1 ^= 0xdd
        scramble(rounds: 4)
        return (first, state.0 ^ state.1 ^ state.2 ^ state.3)
    }

    private mutating func scramble(rounds: Int) {
        var (a, b, c, d) = state
        for _ in 0..<rounds {
            a &+= b
            b = SipHash128.rotate(b, 13) ^ a
            a = SipHash128.rotate(a, 32)
            c &+= d
            d = SipHash128.rotate(d, 16) ^ c
            a &+= d
            d = SipHash128.rotate(d, 21) ^ a
            c &+= b
            b = SipHash128.rotate(b, 17) ^ c
            c = SipHash128.rotate(c, 32)
        }
        state = (a, b, c, d)
    }

    private static func rotate(_ word: UInt64, _ bits: UInt64) -> UInt64 { word << bits | word >> (64 - bits) }
}
