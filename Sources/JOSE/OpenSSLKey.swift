internal import COpenSSL

/// Owns one key of OpenSSL, public alone or with its private half.
///
/// `@unchecked Sendable`: nothing changes the key after `init`; OpenSSL lets threads use one key side by side for
/// signing and verifying as long as none writes to it (openssl-threads(7)).
@safe final class OpenSSLKey: @unchecked Sendable {
    private let pointer: OpaquePointer

    /// Takes over a reference that the caller owns.
    init(owning pointer: OpaquePointer) { unsafe self.pointer = pointer }

    deinit { unsafe EVP_PKEY_free(pointer) }

    /// Reads a SubjectPublicKeyInfo (RFC 5280 section 4.1); for a point, that it lies on its curve is checked.
    convenience init?(subjectPublicKeyInfo bytes: [UInt8]) {
        defer { ERR_clear_error() }
        // `start` moves within the array's storage, which outlives the call.
        let pointer = unsafe bytes.withUnsafeBufferPointer { buffer -> OpaquePointer? in
            var start = buffer.baseAddress
            let key = unsafe d2i_PUBKEY(nil, &start, buffer.count)
            guard let key = unsafe key else { return nil }
            guard unsafe start == buffer.baseAddress.map({ unsafe $0 + buffer.count }) else {
                unsafe EVP_PKEY_free(key)
                return nil
            }
            return unsafe key
        }
        guard let pointer = unsafe pointer else { return nil }
        unsafe self.init(owning: pointer)
    }

    /// Reads an unencrypted PrivateKeyInfo (RFC 5208 section 5), with nothing after it.
    convenience init?(pkcs8 bytes: [UInt8]) {
        defer { ERR_clear_error() }
        // `start` moves within the array's storage; the parsed container is freed here, the key is a copy.
        let pointer = unsafe bytes.withUnsafeBufferPointer { buffer -> OpaquePointer? in
            var start = buffer.baseAddress
            guard let container = unsafe d2i_PKCS8_PRIV_KEY_INFO(nil, &start, buffer.count) else { return nil }
            defer { unsafe PKCS8_PRIV_KEY_INFO_free(container) }
            guard unsafe start == buffer.baseAddress.map({ unsafe $0 + buffer.count }) else { return nil }
            return unsafe EVP_PKCS82PKEY(container)
        }
        guard let pointer = unsafe pointer else { return nil }
        unsafe self.init(owning: pointer)
    }

    /// A new key pair on P-256.
    static func generateP256() -> OpenSSLKey? {
        defer { ERR_clear_error() }
        // The function returns a reference of our own.
        guard let pointer = unsafe jose_generate_p256() else { return nil }
        return unsafe OpenSSLKey(owning: pointer)
    }

    /// The public half as SubjectPublicKeyInfo.
    var subjectPublicKeyInfo: [UInt8]? {
        // The key lives as long as `self`; the encoder writes as many bytes as it has announced.
        unsafe encoded { unsafe i2d_PUBKEY(pointer, $0) }
    }

    /// Both halves as unencrypted PrivateKeyInfo.
    var pkcs8: [UInt8]? {
        // The container is freed here; the encoder writes as many bytes as it has announced.
        guard let container = unsafe EVP_PKEY2PKCS8(pointer) else { return nil }
        defer { unsafe PKCS8_PRIV_KEY_INFO_free(container) }
        return unsafe encoded { unsafe i2d_PKCS8_PRIV_KEY_INFO(container, $0) }
    }

    /// Whether the public key is a valid one of its curve.
    var isValidPublicKey: Bool { unsafe check { unsafe EVP_PKEY_public_check($0) } }

    /// Whether the private key is in range and belongs to the public one.
    var isValidPair: Bool { unsafe check { unsafe EVP_PKEY_check($0) } }

    /// Verifies a signature in OpenSSL's own form; `isPure` for algorithms that take the message and no digest.
    func verifies(_ signature: [UInt8], of message: Span<UInt8>, isPure: Bool) -> Bool {
        // What is left in the thread's error queue would be taken for a failure of its next TLS operation.
        defer { ERR_clear_error() }
        guard let context = unsafe EVP_MD_CTX_new() else { return false }
        defer { unsafe EVP_MD_CTX_free(context) }
        guard unsafe EVP_DigestVerifyInit(context, nil, isPure ? nil : EVP_sha256(), nil, pointer) == 1 else {
            return false
        }
        // Both buffers outlive the call, which only reads them.
        return unsafe message.withUnsafeBufferPointer { message in
            unsafe signature.withUnsafeBufferPointer { signature in
                unsafe EVP_DigestVerify(
                    context, signature.baseAddress, signature.count, message.baseAddress, message.count) == 1
            }
        }
    }

    /// Signs with SHA-256; the signature is in OpenSSL's own form.
    func signature(of message: Span<UInt8>) -> [UInt8]? {
        defer { ERR_clear_error() }
        guard let context = unsafe EVP_MD_CTX_new() else { return nil }
        defer { unsafe EVP_MD_CTX_free(context) }
        guard unsafe EVP_DigestSignInit(context, nil, EVP_sha256(), nil, pointer) == 1 else { return nil }
        // `count` comes in as the room in the array and goes out as the bytes written.
        return unsafe message.withUnsafeBufferPointer { message in
            var count = 0
            guard unsafe EVP_DigestSign(context, nil, &count, message.baseAddress, message.count) == 1 else {
                return nil
            }
            var signature = [UInt8](repeating: 0, count: count)
            guard unsafe EVP_DigestSign(context, &signature, &count, message.baseAddress, message.count) == 1 else {
                return nil
            }
            return Array(signature.prefix(count))
        }
    }

    private func check(_ function: (OpaquePointer?) -> CInt) -> Bool {
        defer { ERR_clear_error() }
        // The context is freed here and holds a reference to the key of its own.
        guard let context = unsafe EVP_PKEY_CTX_new_from_pkey(nil, pointer, nil) else { return false }
        defer { unsafe EVP_PKEY_CTX_free(context) }
        return unsafe function(context) == 1
    }

    private func encoded(
        _ encode: (UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>?) -> CInt
    ) -> [UInt8]? {
        defer { ERR_clear_error() }
        let count = encode(nil)
        guard count > 0 else { return nil }
        var bytes = [UInt8](repeating: 0, count: Int(count))
        // The encoder writes `count` bytes to the array's storage and moves only the copy of its address.
        let written = unsafe bytes.withUnsafeMutableBufferPointer { buffer in
            var start = buffer.baseAddress
            return unsafe encode(&start)
        }
        return written == count ? bytes : nil
    }
}
