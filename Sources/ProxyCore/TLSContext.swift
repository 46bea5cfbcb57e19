internal import COpenSSL
internal import Synchronization

/// One certificate with its key, as PEM files.
public struct CertificateFiles: Sendable, Equatable {
    /// The certificate, then its chain.
    public var certificate: String
    /// The private key.
    public var key: String

    /// Memberwise.
    public init(certificate: String, key: String) {
        self.certificate = certificate
        self.key = key
    }
}

/// What is spoken within TLS, by its name in ALPN (RFC 7301).
public enum ApplicationProtocol: String, Sendable, CaseIterable {
    /// HTTP/2.
    case http2 = "h2"
    /// HTTP/1.1; also what a client means that names no protocol.
    case http1 = "http/1.1"
}

/// A TLS setting that OpenSSL does not take.
public struct TLSError: Error, Sendable, CustomStringConvertible {
    /// What was tried, and OpenSSL's reasons.
    public let description: String

    init(_ step: String) {
        var reasons: [String] = []
        while true {
            let code = ERR_get_error()
            if code == 0 { break }
            if let reason = unsafe ERR_reason_error_string(code) { reasons.append(unsafe String(cString: reason)) }
        }
        description = reasons.isEmpty ? step : "\(step): \(reasons.joined(separator: "; "))"
    }
}

/// The key material of session tickets; every context of the process uses the same, so that any worker can resume a
/// session of any other, also after a reload.
public final class TicketKeys: Sendable {
    private let bytes: [UInt8]

    /// Fresh random keys.
    public init() {
        var bytes = [UInt8](repeating: 0, count: 80)
        let code = unsafe bytes.withUnsafeMutableBytes { region in
            // The region is as long as its count says.
            unsafe RAND_bytes(region.baseAddress?.assumingMemoryBound(to: UInt8.self), CInt(region.count))
        }
        precondition(code == 1, "the random generator failed")
        self.bytes = bytes
    }

    func install(in context: OpaquePointer) throws(TLSError) {
        var copy = bytes
        let length = unsafe copenssl_ticket_keys_length(context)
        guard length <= copy.count else { throw TLSError("ticket keys") }
        let code = unsafe copy.withUnsafeMutableBytes { region in
            // OpenSSL copies `length` bytes, which is no more than there are.
            unsafe copenssl_set_ticket_keys(context, region.baseAddress, length)
        }
        guard code == 1 else { throw TLSError("ticket keys") }
    }
}

/// What a TLS listener offers: certificates by name, versions, ciphers. Immutable once made; shared by all workers.
///
/// The SSL_CTX objects count their references atomically and are only read after `init`.
@safe public final class TLSContext: @unchecked Sendable {
    /// What a connection was promised beyond its certificate; where it changes, older connections must not go on.
    struct Policy: Equatable, Sendable {
        let minimumVersionIsTLS13: Bool
    }

    let policy: Policy
    /// Those that are spoken, the first that the client has is chosen.
    fileprivate let protocols: [ApplicationProtocol]
    private let contexts: [OpaquePointer]
    private let exactNames: [String: Int]
    private let wildcardNames: [String: Int]

    /// Loads certificates and keys. The first certificate answers where no name fits.
    public init(
        certificates: [CertificateFiles], minimumVersionIsTLS13: Bool, protocols: [ApplicationProtocol] = [.http1],
        tickets: TicketKeys
    ) throws(TLSError) {
        precondition(!certificates.isEmpty && !protocols.isEmpty)
        self.protocols = protocols
        policy = Policy(minimumVersionIsTLS13: minimumVersionIsTLS13)
        var contexts: [OpaquePointer] = unsafe []
        var exact: [String: Int] = [:]
        var wildcards: [String: Int] = [:]
        do {
            for (index, files) in certificates.enumerated() {
                let made = unsafe try TLSContext.makeContext(files, minimumVersionIsTLS13, tickets)
                let names = unsafe made.1
                unsafe contexts.append(made.0)
                for name in names {
                    if name.hasPrefix("*.") {
                        wildcards[String(name.dropFirst(2))] = wildcards[String(name.dropFirst(2))] ?? index
                    } else {
                        exact[name] = exact[name] ?? index
                    }
                }
            }
        } catch {
            while let context = unsafe contexts.popLast() { unsafe SSL_CTX_free(context) }
            throw error
        }
        unsafe self.contexts = contexts
        exactNames = exact
        wildcardNames = wildcards
        // The callback runs while a session of this context lives, and each session keeps `self` alive.
        let argument = unsafe Unmanaged.passUnretained(self).toOpaque()
        unsafe SSL_CTX_set_client_hello_cb(contexts[0], helloReceived, argument)
        unsafe copenssl_set_servername_callback(contexts[0], serverNameRequested, argument)
        unsafe contexts.forEach { unsafe SSL_CTX_set_alpn_select_cb($0, applicationProtocolOffered, argument) }
    }

    deinit { unsafe contexts.forEach { unsafe SSL_CTX_free($0) } }

    func makeSession() -> OpaquePointer? { unsafe SSL_new(contexts[0]) }

    /// The context whose certificate holds the name, exactly or by a wildcard for its first label (RFC 6125 6.4.3).
    fileprivate func context(forName name: String) -> OpaquePointer {
        let name = (name.hasSuffix(".") ? String(name.dropLast()) : name).lowercased()
        if let index = exactNames[name] { return unsafe contexts[index] }
        if let dot = name.firstIndex(of: "."), let index = wildcardNames[String(name[name.index(after: dot)...])] {
            return unsafe contexts[index]
        }
        return unsafe contexts[0]
    }

    private static func makeContext(
        _ files: CertificateFiles, _ minimumVersionIsTLS13: Bool, _ tickets: TicketKeys
    ) throws(TLSError) -> (OpaquePointer, [String]) {
        guard let context = unsafe SSL_CTX_new(TLS_server_method()) else { throw TLSError("TLS context") }
        do throws(TLSError) {
            try unsafe configure(context, minimumVersionIsTLS13)
            try unsafe tickets.install(in: context)
            guard unsafe SSL_CTX_use_certificate_chain_file(context, files.certificate) == 1 else {
                throw TLSError("certificate \(files.certificate)")
            }
            guard unsafe SSL_CTX_use_PrivateKey_file(context, files.key, SSL_FILETYPE_PEM) == 1 else {
                throw TLSError("private key \(files.key)")
            }
            guard unsafe SSL_CTX_check_private_key(context) == 1 else {
                throw TLSError("the key \(files.key) does not belong to the certificate \(files.certificate)")
            }
            return unsafe (context, certificateNames(context))
        } catch {
            unsafe SSL_CTX_free(context)
            throw error
        }
    }

    private static func configure(_ context: OpaquePointer, _ minimumVersionIsTLS13: Bool) throws(TLSError) {
        let version = minimumVersionIsTLS13 ? TLS1_3_VERSION : TLS1_2_VERSION
        guard unsafe copenssl_set_min_version(context, version) == 1 else { throw TLSError("minimum TLS version") }
        guard unsafe SSL_CTX_set_cipher_list(context, cipherList) == 1 else { throw TLSError("cipher list") }
        guard unsafe copenssl_set_groups(context, "X25519:P-256:P-384") == 1 else { throw TLSError("groups") }
        _ = unsafe copenssl_set_mode(context)
        _ = unsafe copenssl_set_options(context)
        unsafe copenssl_set_read_ahead(context)
        _ = unsafe copenssl_cache_off(context)
        _ = unsafe SSL_CTX_set_num_tickets(context, 1)
        let identifier: [UInt8] = Array("auth-gateway".utf8)
        _ = unsafe SSL_CTX_set_session_id_context(context, identifier, CUnsignedInt(identifier.count))
    }

    /// The DNS names among the certificate's subject alternative names, lower case. Names with a NUL are left out.
    private static func certificateNames(_ context: OpaquePointer) -> [String] {
        guard let certificate = unsafe SSL_CTX_get0_certificate(context),
            let list = unsafe X509_get_ext_d2i(certificate, NID_subject_alt_name, nil, nil)
        else { return [] }
        let names = OpaquePointer(list)
        defer { unsafe GENERAL_NAMES_free(names) }
        var found: [String] = []
        for index in 0..<(unsafe copenssl_general_names_count(names)) {
            var length: CInt = 0
            guard let bytes = unsafe copenssl_dns_name(copenssl_general_name(names, index), &length), length > 0 else {
                continue
            }
            // OpenSSL owns `length` bytes there for as long as the list lives.
            let name = unsafe String(decoding: UnsafeBufferPointer(start: bytes, count: Int(length)), as: UTF8.self)
            if !name.utf8.contains(0) { found.append(name.lowercased()) }
        }
        return found
    }

    /// TLS 1.2 suites with forward secrecy and AEAD only, as in Mozilla's intermediate profile without DHE.
    private static let cipherList =
        "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
        + "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
}

private func serverNameRequested(
    _ session: OpaquePointer?, _ alert: UnsafeMutablePointer<CInt>?, _ argument: UnsafeMutableRawPointer?
) -> CInt {
    guard let session = unsafe session, let argument = unsafe argument,
        let name = unsafe SSL_get_servername(session, TLSEXT_NAMETYPE_host_name)
    else { return SSL_TLSEXT_ERR_NOACK }
    let owner = unsafe Unmanaged<TLSContext>.fromOpaque(argument).takeUnretainedValue()
    let context = unsafe owner.context(forName: String(cString: name))
    _ = unsafe SSL_set_SSL_CTX(session, context)
    return SSL_TLSEXT_ERR_OK
}

/// A client that names no protocol means HTTP/1.1: without it there is none in common.
private func helloReceived(
    _ session: OpaquePointer?, _ alert: UnsafeMutablePointer<CInt>?, _ argument: UnsafeMutableRawPointer?
) -> CInt {
    guard let session = unsafe session, let argument = unsafe argument else { return SSL_CLIENT_HELLO_ERROR }
    let owner = unsafe Unmanaged<TLSContext>.fromOpaque(argument).takeUnretainedValue()
    var bytes: UnsafePointer<UInt8>?
    var count = 0
    let type = CUnsignedInt(TLSEXT_TYPE_application_layer_protocol_negotiation)
    // Only whether the extension is there is of interest.
    guard unsafe SSL_client_hello_get0_ext(session, type, &bytes, &count) == 1 || owner.protocols.contains(.http1)
    else {
        unsafe alert?.pointee = SSL_AD_NO_APPLICATION_PROTOCOL
        return SSL_CLIENT_HELLO_ERROR
    }
    return SSL_CLIENT_HELLO_SUCCESS
}

/// Chooses the first of ours that the client offers; one that offers others only is refused (RFC 7301 section 3.2).
private func applicationProtocolOffered(
    _ session: OpaquePointer?, _ chosen: UnsafeMutablePointer<UnsafePointer<UInt8>?>?,
    _ chosenLength: UnsafeMutablePointer<UInt8>?, _ offered: UnsafePointer<UInt8>?, _ offeredLength: CUnsignedInt,
    _ argument: UnsafeMutableRawPointer?
) -> CInt {
    guard let offered = unsafe offered, let argument = unsafe argument else { return SSL_TLSEXT_ERR_ALERT_FATAL }
    let owner = unsafe Unmanaged<TLSContext>.fromOpaque(argument).takeUnretainedValue()
    let length = Int(offeredLength)
    for wanted in owner.protocols {
        var position = 0
        while position < length {
            let nameLength = unsafe Int(offered[position])
            guard position + 1 + nameLength <= length else { break }
            // The name lies within the client's list, whose bounds were just checked.
            let name = unsafe UnsafeBufferPointer(start: offered + position + 1, count: nameLength)
            if unsafe name.elementsEqual(wanted.rawValue.utf8) {
                unsafe chosen?.pointee = UnsafePointer(offered + position + 1)
                unsafe chosenLength?.pointee = UInt8(nameLength)
                return SSL_TLSEXT_ERR_OK
            }
            position += 1 + nameLength
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL
}
