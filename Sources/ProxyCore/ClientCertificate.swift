internal import COpenSSL

/// What a client's certificate says, after its chain was verified in the handshake.
///
/// Names are compared by their whole length: a certificate in which one holds a NUL or another control character is
/// refused in the handshake.
public final class ClientCertificate: Sendable {
    /// SHA-256 of the certificate in DER.
    public let digest: [UInt8]
    /// As RFC 2253 writes it.
    public let subject: String
    /// Who issued it, as RFC 2253 writes it.
    public let issuer: String
    /// Common names of the subject, in order.
    public let commonNames: [String]
    /// Addresses among the subject alternative names, in order.
    public let emails: [String]
    /// DNS names among the subject alternative names, in order.
    public let dnsNames: [String]
    /// URIs among the subject alternative names, in order.
    public let uris: [String]
    /// Seconds since the epoch; good no more from then on.
    public let goodUntil: Int64

    /// - Returns: `nil` where a name is not sound.
    init?(_ certificate: OpaquePointer) {
        var names: [CInt: [String]] = [:]
        var areSound = true
        let areReadable = unsafe CertificateNames.forEach(of: certificate) { kind, bytes in
            // An IA5String (RFC 5280 section 4.2.1.6), printable.
            guard !bytes.isEmpty, unsafe bytes.allSatisfy({ (0x20...0x7E).contains($0) }) else {
                areSound = false
                return
            }
            names[kind, default: []].append(unsafe String(decoding: bytes, as: UTF8.self))
        }
        guard areReadable, areSound,
            let common = unsafe ClientCertificate.commonNames(X509_get_subject_name(certificate)),
            let subject = unsafe ClientCertificate.text(X509_get_subject_name(certificate)),
            let issuer = unsafe ClientCertificate.text(X509_get_issuer_name(certificate)),
            let goodUntil = unsafe TLSFiles.epochSeconds(X509_get0_notAfter(certificate))
        else { return nil }
        var digest = [UInt8](repeating: 0, count: 32)
        var count: CUnsignedInt = 0
        // Room for the 32 bytes of SHA-256.
        guard unsafe X509_digest(certificate, EVP_sha256(), &digest, &count) == 1, count == 32 else { return nil }
        self.digest = digest
        self.subject = subject
        self.issuer = issuer
        self.goodUntil = goodUntil
        commonNames = common
        emails = names[GEN_EMAIL] ?? []
        dnsNames = names[GEN_DNS] ?? []
        uris = names[GEN_URI] ?? []
    }

    /// `nil` where one of them is no sound text.
    private static func commonNames(_ name: OpaquePointer?) -> [String]? {
        var found: [String] = []
        var index: CInt = -1
        while true {
            index = unsafe X509_NAME_get_index_by_NID(name, NID_commonName, index)
            guard index >= 0 else { return found }
            var text: UnsafeMutablePointer<UInt8>?
            let data = unsafe X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, index))
            let count = unsafe ASN1_STRING_to_UTF8(&text, data)
            guard count >= 0, let bytes = unsafe text else { return nil }
            defer { unsafe CRYPTO_free(bytes, "", 0) }
            // OpenSSL made `count` bytes, which live until they are freed.
            let region = unsafe UnsafeBufferPointer(start: bytes, count: Int(count))
            guard count > 0, let name = unsafe String(validating: region, as: UTF8.self),
                !name.unicodeScalars.contains(where: { $0.properties.generalCategory == .control })
            else { return nil }
            found.append(name)
        }
    }

    private static func text(_ name: OpaquePointer?) -> String? {
        guard let memory = unsafe BIO_new(BIO_s_mem()) else { return nil }
        defer { unsafe BIO_free(memory) }
        guard unsafe copenssl_print_name(memory, name) >= 0 else { return nil }
        var bytes = [UInt8](repeating: 0, count: Int(unsafe BIO_ctrl_pending(memory)))
        guard !bytes.isEmpty else { return "" }
        // Room for as many bytes as wait.
        guard unsafe BIO_read(memory, &bytes, CInt(clamping: bytes.count)) == bytes.count else { return nil }
        return String(decoding: bytes, as: UTF8.self)
    }
}
