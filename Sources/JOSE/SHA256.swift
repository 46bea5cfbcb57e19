internal import COpenSSL

/// A SHA-256 digest (FIPS 180-4), a plain value of 32 bytes.
public struct SHA256Digest: Hashable, Sendable {
    /// The digest as four big-endian words.
    public let words: (UInt64, UInt64, UInt64, UInt64)

    /// The 32 bytes.
    public var bytes: [UInt8] {
        [words.0, words.1, words.2, words.3].flatMap { word in
            (0..<8).map { UInt8(truncatingIfNeeded: word >> (56 - 8 * $0)) }
        }
    }

    /// Compares in constant time.
    public static func == (left: SHA256Digest, right: SHA256Digest) -> Bool {
        (left.words.0 ^ right.words.0) | (left.words.1 ^ right.words.1) | (left.words.2 ^ right.words.2)
            | (left.words.3 ^ right.words.3) == 0
    }

    /// Feeds one word, which is as good as random already.
    public func hash(into hasher: inout Hasher) { hasher.combine(words.0) }
}

/// SHA-256 in one call, without allocation: it runs for each bearer token and each cookie.
public enum SHA256 {
    /// The digest of borrowed bytes.
    public static func digest(of bytes: Span<UInt8>) -> SHA256Digest {
        // The buffer is the span's own memory, used within the closure only; the digest is written to `words`.
        unsafe bytes.withUnsafeBufferPointer { buffer in
            unsafe SHA256Digest(filledBy: { unsafe jose_sha256(buffer.baseAddress, buffer.count, $0) == 1 })
        }
    }

    /// The digest of an array.
    public static func digest(of bytes: [UInt8]) -> SHA256Digest { digest(of: bytes.span) }
}

extension SHA256Digest {
    /// Lets `fill` write the 32 bytes; it says whether it did. That it does not is a failure of the library alone.
    init(filledBy fill: (UnsafeMutablePointer<UInt8>) -> Bool) {
        var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
        // `words` is 32 bytes of this function's own; the pointer does not leave the closure.
        let isFilled = unsafe withUnsafeMutableBytes(of: &words) { buffer in
            guard let address = buffer.baseAddress else { return false }
            return unsafe fill(address.assumingMemoryBound(to: UInt8.self))
        }
        guard isFilled else { fatalError("OpenSSL cannot compute SHA-256") }
        self.words = (words.0.bigEndian, words.1.bigEndian, words.2.bigEndian, words.3.bigEndian)
    }
}
