internal import COpenSSL

/// Keyed digests (RFC 2104).
public enum HMAC {
    /// HMAC-SHA-256 of `bytes`; the key is not empty. Codes compare with `==`, in constant time.
    public static func sha256(key: [UInt8], _ bytes: Span<UInt8>) -> SHA256Digest {
        precondition(!key.isEmpty, "an empty key authenticates nothing")
        return unsafe key.withUnsafeBufferPointer { key in
            unsafe bytes.withUnsafeBufferPointer { buffer in
                // Both buffers outlive the call, which keeps no pointer; 32 bytes are written to the digest.
                unsafe SHA256Digest(filledBy: { digest in
                    unsafe COpenSSL.HMAC(
                        EVP_sha256(), key.baseAddress, CInt(key.count), buffer.baseAddress, buffer.count, digest, nil)
                        != nil
                })
            }
        }
    }

    /// The same, of an array.
    public static func sha256(key: [UInt8], _ bytes: [UInt8]) -> SHA256Digest { sha256(key: key, bytes.span) }
}

/// Bytes from OpenSSL's generator, for keys, session tokens and nonces.
public func randomBytes(_ count: Int) -> [UInt8] {
    // The array's own storage of `count` bytes; a generator that fails leaves nothing that could be used instead.
    unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, initializedCount in
        guard unsafe RAND_bytes(buffer.baseAddress, CInt(count)) == 1 else { fatalError("no random bytes") }
        initializedCount = count
    }
}

/// Compares in time that depends on the lengths only.
public func isEqualInConstantTime(_ left: [UInt8], _ right: [UInt8]) -> Bool {
    guard left.count == right.count else { return false }
    var difference: UInt8 = 0
    for index in left.indices { difference |= left[index] ^ right[index] }
    return difference == 0
}
