import COpenSSL
import JOSE
import Testing

/// A key pair made by OpenSSL, for the algorithms that the product itself does not sign with.
///
/// `@unchecked Sendable`: nothing changes the key after `init`.
@safe final class TestKey: @unchecked Sendable {
    private let pointer: OpaquePointer
    private let isPure: Bool

    private init(_ pointer: OpaquePointer, isPure: Bool) {
        unsafe self.pointer = pointer
        self.isPure = isPure
    }

    deinit { unsafe EVP_PKEY_free(pointer) }

    static func rsa(bits: CInt = 2048) throws -> TestKey { try generate("RSA", bits: bits) }
    static func ed25519() throws -> TestKey { try generate("ED25519", bits: nil) }

    private static func generate(_ name: String, bits: CInt?) throws -> TestKey {
        guard let context = unsafe EVP_PKEY_CTX_new_from_name(nil, name, nil) else { throw OpenSSLFailure() }
        defer { unsafe EVP_PKEY_CTX_free(context) }
        try succeed(unsafe EVP_PKEY_keygen_init(context))
        if let bits { try succeed(unsafe EVP_PKEY_CTX_set_rsa_keygen_bits(context, bits)) }
        var key: OpaquePointer?
        try succeed(unsafe EVP_PKEY_generate(context, &key))
        guard let key = unsafe key else { throw OpenSSLFailure() }
        return unsafe TestKey(key, isPure: name == "ED25519")
    }

    func publicKey() throws -> PublicKey {
        if isPure {
            var bytes = [UInt8](repeating: 0, count: 32)
            var count = 32
            try succeed(unsafe EVP_PKEY_get_raw_public_key(pointer, &bytes, &count))
            return try PublicKey(ed25519: bytes)
        }
        return try PublicKey(rsa: number("n"), number("e"))
    }

    /// The public key as the file that an operator would have.
    func pem() throws -> [UInt8] {
        guard let file = unsafe BIO_new(BIO_s_mem()) else { throw OpenSSLFailure() }
        defer { unsafe BIO_free(file) }
        try succeed(unsafe PEM_write_bio_PUBKEY(file, pointer))
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = unsafe BIO_read(file, &bytes, CInt(bytes.count))
        guard count > 0 else { throw OpenSSLFailure() }
        return Array(bytes.prefix(Int(count)))
    }

    private func number(_ name: String) throws -> [UInt8] {
        var number: OpaquePointer?
        try succeed(unsafe EVP_PKEY_get_bn_param(pointer, name, &number))
        defer { unsafe BN_free(number) }
        var bytes = [UInt8](repeating: 0, count: Int(unsafe (BN_num_bits(number) + 7) / 8))
        unsafe BN_bn2bin(number, &bytes)
        return bytes
    }

    func sign(_ message: [UInt8]) throws -> [UInt8] {
        guard let context = unsafe EVP_MD_CTX_new() else { throw OpenSSLFailure() }
        defer { unsafe EVP_MD_CTX_free(context) }
        try succeed(unsafe EVP_DigestSignInit(context, nil, isPure ? nil : EVP_sha256(), nil, pointer))
        var signature = [UInt8](repeating: 0, count: 1024)
        var count = signature.count
        try succeed(unsafe EVP_DigestSign(context, &signature, &count, message, message.count))
        return Array(signature.prefix(count))
    }
}

struct OpenSSLFailure: Error {}

func succeed(_ code: CInt) throws { if code != 1 { throw OpenSSLFailure() } }

// Spans cannot be arguments within an expectation.
extension PublicKey {
    func accepts(_ signature: [UInt8], _ message: [UInt8]) -> Bool { verifies(signature, of: message.span) }
}

extension SymmetricKey {
    func accepts(_ signature: [UInt8], _ message: [UInt8]) -> Bool { verifies(signature, of: message.span) }
}

/// A token put together part by part, so that each part can be wrong.
func token(header: String, claims: String, sign: ([UInt8]) throws -> [UInt8]) rethrows -> [UInt8] {
    let signed = Array("\(Base64URL.encode(Array(header.utf8))).\(Base64URL.encode(Array(claims.utf8)))".utf8)
    return signed + [UInt8(ascii: ".")] + Array(Base64URL.encode(try sign(signed)).utf8)
}

func jwk(_ text: String) throws -> JWK { try JWK(#require(JSONValue(parsing: Array(text.utf8)).object)) }

func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
