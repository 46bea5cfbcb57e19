internal import COpenSSL

/// What a connection had to fulfil in its handshake to carry requests for certain hosts: profile, and client
/// certificates with those who vouch for them, as their files were when they were read. Immutable.
///
/// The OpenSSL object counts its references atomically and is only read after `init`.
@safe public final class TLSPolicy: @unchecked Sendable {
    /// SHA-256 of all that makes the policy, the content of its files included: equal for policies that are equal.
    let fingerprint: [UInt8]
    /// Whether client certificates are asked for.
    public let asksForCertificate: Bool
    /// When the first of the revocation lists ends, in seconds since the epoch: every client certificate is refused from
    /// then on. `nil` without lists.
    public let revocationsEnd: Int64?
    /// The file of the revocation lists.
    public let revocationsPath: String?

    private let rules: TLSRules
    // Owned: freed in deinit. Those who vouch for clients, with their revocation lists.
    private let store: OpaquePointer?
    // Owned: each freed in deinit.
    private let authorities: [OpaquePointer]

    init(_ rules: TLSRules) throws(TLSError) {
        self.rules = rules
        asksForCertificate = rules.clientCertificates != nil
        revocationsPath = rules.clientCertificates?.revocations
        var content = Array("\(rules.profile.rawValue)\n".utf8)
        guard let files = rules.clientCertificates else {
            fingerprint = TLSPolicy.digest(content)
            revocationsEnd = nil
            unsafe store = nil
            unsafe authorities = []
            return
        }
        let authorityBytes = try TLSFiles.read(files.authorities)
        let revocationBytes = try files.revocations.map { path throws(TLSError) in try TLSFiles.read(path) }
        // Of one length each, so that nothing of one part can pass for the other.
        content += "\(files.isRequired) \(files.depth) \(revocationBytes != nil)\n".utf8
        content += TLSPolicy.digest(authorityBytes) + TLSPolicy.digest(revocationBytes ?? [])
        fingerprint = TLSPolicy.digest(content)
        guard let store = unsafe X509_STORE_new() else { throw TLSError("out of memory") }
        var authorities: [OpaquePointer] = unsafe []
        do throws(TLSError) {
            unsafe authorities = try TLSFiles.certificates(in: authorityBytes, files.authorities)
            while let wrong = unsafe authorities.first(where: { unsafe X509_STORE_add_cert(store, $0) != 1 }) {
                _ = unsafe wrong
                throw TLSError("authority \(files.authorities)")
            }
            if let path = files.revocations {
                revocationsEnd = try unsafe TLSPolicy.addRevocations(revocationBytes ?? [], path, to: store)
            } else {
                revocationsEnd = nil
            }
            unsafe self.store = store
            unsafe self.authorities = authorities
        } catch {
            unsafe X509_STORE_free(store)
            unsafe authorities.forEach { unsafe X509_free($0) }
            throw error
        }
    }

    deinit {
        unsafe X509_STORE_free(store)
        unsafe authorities.forEach { unsafe X509_free($0) }
    }

    /// Whether both ask the same of a connection.
    public static func == (left: TLSPolicy, right: TLSPolicy) -> Bool {
        left === right || left.fingerprint == right.fingerprint
    }

    /// Sets up a context for sessions that begin under this policy.
    func configure(_ context: OpaquePointer) throws(TLSError) {
        guard unsafe copenssl_set_min_version(context, minimumVersion) == 1,
            unsafe SSL_CTX_set_session_id_context(context, fingerprint, CUnsignedInt(fingerprint.count)) == 1
        else { throw TLSError("TLS policy") }
        if let store = unsafe store {
            guard unsafe copenssl_set_verify_store(context, store) == 1 else { throw TLSError("authorities") }
            for index in 0..<(unsafe authorities.count) {
                guard unsafe SSL_CTX_add_client_CA(context, authorities[index]) == 1 else {
                    throw TLSError("authorities")
                }
            }
        }
        unsafe SSL_CTX_set_verify(context, verifyMode, clientCertificateJudged)
        unsafe SSL_CTX_set_verify_depth(context, CInt(rules.clientCertificates?.depth ?? 0))
        _ = unsafe SSL_CTX_set_num_tickets(context, ticketCount)
        if asksForCertificate { _ = unsafe SSL_CTX_set_options(context, copenssl_no_ticket) }
    }

    /// Puts a session that began under another policy under this one, before its version is chosen and before a ticket is
    /// looked at.
    func apply(to session: OpaquePointer) -> Bool {
        if asksForCertificate {
            _ = unsafe SSL_set_options(session, copenssl_no_ticket)
        } else {
            _ = unsafe SSL_clear_options(session, copenssl_no_ticket)
        }
        unsafe SSL_set_verify(session, verifyMode, clientCertificateJudged)
        unsafe SSL_set_verify_depth(session, CInt(rules.clientCertificates?.depth ?? 0))
        return unsafe copenssl_session_set_min_version(session, minimumVersion) == 1
            && SSL_set_session_id_context(session, fingerprint, CUnsignedInt(fingerprint.count)) == 1
            && SSL_set_num_tickets(session, ticketCount) == 1
    }

    private var minimumVersion: CInt {
        switch rules.profile {
        case .intermediate: TLS1_2_VERSION
        case .modern: TLS1_3_VERSION
        }
    }

    private var verifyMode: CInt {
        guard let files = rules.clientCertificates else { return SSL_VERIFY_NONE }
        return files.isRequired ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT : SSL_VERIFY_PEER
    }

    /// A session that is resumed is not verified again: neither the certificate's end nor a revocation would count. So
    /// where certificates are asked for, every handshake is a full one.
    private var ticketCount: Int { asksForCertificate ? 0 : 1 }

    /// Adds the lists of a file; when the first of them ends.
    private static func addRevocations(
        _ bytes: [UInt8], _ path: String, to store: OpaquePointer
    ) throws(TLSError) -> Int64 {
        let lists = try unsafe TLSFiles.revocationLists(in: bytes, path)
        defer { unsafe lists.forEach { unsafe X509_CRL_free($0) } }
        for index in 0..<(unsafe lists.count) {
            // The store holds a reference of its own.
            guard unsafe X509_STORE_add_crl(store, lists[index]) == 1 else { throw TLSError("revocation list \(path)") }
        }
        // Of every authority of the chain: one whose list is missing or has ended vouches for nobody.
        unsafe X509_STORE_set_flags(store, CUnsignedLong(X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL))
        return try unsafe TLSFiles.end(of: lists, path)
    }

    private static func digest(_ bytes: [UInt8]) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: 32)
        // Room for the 32 bytes of SHA-256.
        guard unsafe jose_sha256(bytes, bytes.count, &digest) == 1 else { preconditionFailure("SHA-256 failed") }
        return digest
    }
}

/// What a connection's handshake came to.
public struct HandshakeFacts: Sendable {
    /// What was asked of the connection, by the name that it asked for.
    public let policy: TLSPolicy
    /// `nil` where none was asked for, or given.
    public let clientCertificate: ClientCertificate?
}

/// OpenSSL has judged one certificate of the client's chain, the client's own at last, whose names must be sound.
private func clientCertificateJudged(_ isFine: CInt, _ chain: OpaquePointer?) -> CInt {
    guard isFine == 1, unsafe X509_STORE_CTX_get_error_depth(chain) == 0,
        let leaf = unsafe X509_STORE_CTX_get_current_cert(chain)
    else { return isFine }
    guard unsafe ClientCertificate(leaf) == nil else { return 1 }
    unsafe X509_STORE_CTX_set_error(chain, X509_V_ERR_APPLICATION_VERIFICATION)
    return 0
}
