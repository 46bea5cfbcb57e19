internal import COpenSSL

/// A certificate of ours with its chain and key, as its files were when they were read. Immutable.
///
/// The OpenSSL objects count their references atomically and are only read after `init`.
@safe final class ServerCertificate: @unchecked Sendable {
    /// Identifies the certificate among those of a session.
    let leaf: OpaquePointer
    /// RSA, ECDSA or EdDSA: a name may have one certificate of each kind.
    let keyKind: CInt
    /// DNS names, lower case; one may begin with `*.`.
    let names: [String]
    let staple: OCSPStaple?
    // Owned, like `leaf`: each freed in deinit.
    private let chain: OpaquePointer
    private let key: OpaquePointer

    init(_ files: CertificateFiles, now: Int64) throws(TLSError) {
        let parts = try unsafe TLSFiles.certificates(in: try TLSFiles.read(files.certificate), files.certificate)
        guard let chain = unsafe copenssl_certificates_new() else { throw TLSError("out of memory") }
        // The list owns what was pushed.
        unsafe parts.dropFirst().forEach { _ = unsafe copenssl_certificates_push(chain, $0) }
        let leaf = unsafe parts[0]
        var loaded: OpaquePointer?
        do throws(TLSError) {
            let key = try unsafe TLSFiles.privateKey(in: try TLSFiles.read(files.key), files.key)
            unsafe loaded = key
            guard unsafe X509_check_private_key(leaf, key) == 1 else {
                throw TLSError("the key \(files.key) does not belong to the certificate \(files.certificate)")
            }
            keyKind = unsafe EVP_PKEY_get_base_id(key)
            names = unsafe ServerCertificate.dnsNames(leaf)
            if let path = files.ocsp {
                staple = try unsafe OCSPStaple(path, for: leaf, now: now)
            } else {
                staple = nil
            }
            unsafe self.leaf = leaf
            unsafe self.chain = chain
            unsafe self.key = key
        } catch {
            unsafe X509_free(leaf)
            unsafe copenssl_certificates_free(chain)
            unsafe EVP_PKEY_free(loaded)
            throw error
        }
    }

    deinit {
        unsafe X509_free(leaf)
        unsafe copenssl_certificates_free(chain)
        unsafe EVP_PKEY_free(key)
    }

    /// Puts it into a context, beside certificates of other kinds.
    func install(in context: OpaquePointer) throws(TLSError) {
        // 1: in place of an earlier one of the same kind. The context holds references of its own.
        guard unsafe SSL_CTX_use_cert_and_key(context, leaf, key, chain, 1) == 1 else {
            throw TLSError("certificate of \(names.first ?? "no name")")
        }
    }

    /// The DNS names among the subject alternative names, lower case. Names with a NUL are left out.
    private static func dnsNames(_ certificate: OpaquePointer) -> [String] {
        var names: [String] = []
        _ = unsafe CertificateNames.forEach(of: certificate) { kind, bytes in
            guard kind == GEN_DNS, !bytes.isEmpty, unsafe !bytes.contains(0) else { return }
            names.append(unsafe String(decoding: bytes, as: UTF8.self).lowercased())
        }
        return names
    }
}

/// The subject alternative names that are text (RFC 5280 section 4.2.1.6).
enum CertificateNames {
    /// Calls `body` with the kind (`GEN_DNS`, `GEN_EMAIL`, `GEN_URI`) and the bytes of each, as many as the certificate
    /// says; `false` where the names cannot be read, or stand there twice.
    static func forEach(
        of certificate: OpaquePointer, _ body: (_ kind: CInt, _ bytes: UnsafeBufferPointer<UInt8>) -> Void
    ) -> Bool {
        var found: CInt = 0
        guard let list = unsafe X509_get_ext_d2i(certificate, NID_subject_alt_name, &found, nil) else {
            // -1: there are none.
            return found == -1
        }
        let names = OpaquePointer(list)
        defer { unsafe GENERAL_NAMES_free(names) }
        for index in 0..<(unsafe copenssl_general_names_count(names)) {
            var kind: CInt = 0
            var count: CInt = 0
            guard let bytes = unsafe copenssl_name_text(copenssl_general_name(names, index), &kind, &count) else {
                continue
            }
            // OpenSSL owns `count` bytes there for as long as the list lives.
            unsafe body(kind, UnsafeBufferPointer(start: bytes, count: Int(count)))
        }
        return true
    }
}
