internal import COpenSSL
public import EventLoop
internal import HTTPModel

/// What a TLS listener offers: certificates by name, and what connections must fulfil for which hosts. Immutable once
/// made; shared by all workers.
///
/// The SSL_CTX objects count their references atomically and are only read after `init`.
@safe public final class TLSContext: @unchecked Sendable {
    /// Those of the listener itself first, then those of its hosts in the order of the settings.
    public let policies: [TLSPolicy]
    /// The first that the client has is chosen.
    private let protocols: [ApplicationProtocol]
    private let policyNames: NameTable
    private let certificates: [ServerCertificate]
    private let groupNames: NameTable
    private let groupCount: Int
    // Owned: each freed in deinit. One for each policy and group of certificates that meet.
    private let contexts: [OpaquePointer]
    private let policyOfContext: [Int]
    /// By policy and group: the place among `contexts`.
    private let places: [Int]

    /// Reads certificates, keys, authorities and revocation lists.
    public init(_ settings: TLSSettings, now: Int64 = currentEpochSeconds()) throws(TLSError) {
        precondition(!settings.certificates.isEmpty && !settings.protocols.isEmpty)
        protocols = settings.protocols
        var certificates: [ServerCertificate] = []
        for files in settings.certificates { certificates.append(try ServerCertificate(files, now: now)) }
        var policies = [try TLSPolicy(settings.rules)]
        for hosts in settings.hosts { policies.append(try TLSPolicy(hosts.rules)) }
        let groups = CertificateGroups(certificates)
        self.certificates = certificates
        self.policies = policies
        groupNames = NameTable(groups.names, wildcard: .oneLabel)
        groupCount = groups.members.count
        let names = settings.hosts.enumerated().flatMap { place, hosts in hosts.names.map { ($0, place + 1) } }
        policyNames = NameTable(names, wildcard: .manyLabels)
        var contexts: [OpaquePointer] = unsafe []
        var policyOfContext: [Int] = []
        var places: [Int] = []
        do throws(TLSError) {
            for (number, policy) in policies.enumerated() {
                let hosts = number == 0 ? nil : settings.hosts[number - 1].names
                for (group, members) in groups.members.enumerated() {
                    guard group == 0 || hosts.map({ groups.mayServe(group, $0) }) ?? true else {
                        // No name leads here; the first group, which is always there, stands in.
                        places.append(places[number * groupCount])
                        continue
                    }
                    places.append(policyOfContext.count)
                    policyOfContext.append(number)
                    unsafe contexts.append(
                        try TLSContext.makeContext(policy, members.map { certificates[$0] }))
                }
            }
        } catch {
            unsafe contexts.forEach { unsafe SSL_CTX_free($0) }
            throw error
        }
        unsafe self.contexts = contexts
        self.policyOfContext = policyOfContext
        self.places = places
        // The callbacks run while a session of these contexts lives, and each session keeps `self` alive.
        let argument = unsafe Unmanaged.passUnretained(self).toOpaque()
        unsafe SSL_CTX_set_client_hello_cb(contexts[0], helloReceived, argument)
        unsafe contexts.forEach { context in
            unsafe copenssl_set_servername_callback(context, serverNameAnswered, nil)
            unsafe SSL_CTX_set_alpn_select_cb(context, applicationProtocolOffered, argument)
            unsafe copenssl_set_status_callback(context, stapleAsked, argument)
        }
    }

    deinit { unsafe contexts.forEach { unsafe SSL_CTX_free($0) } }

    /// Staples, whether they are good still or not.
    public var staples: [OCSPStaple] { certificates.compactMap(\.staple) }

    /// Which of `policies` holds for a host; 0 for one that no settings name. HOT.
    ///
    /// - Parameter name: lower case, without port and trailing dot.
    public func policy(forName name: Span<UInt8>) -> Int {
        policies.count == 1 ? 0 : policyNames.value(for: name) ?? 0
    }

    /// Whether two contexts, or none twice, have the same policies in the same order.
    static func haveSamePolicies(_ left: TLSContext?, _ right: TLSContext?) -> Bool {
        guard let left, let right else { return left == nil && right == nil }
        return left.policies.elementsEqual(right.policies) { $0 == $1 }
    }

    func makeSession() -> OpaquePointer? { unsafe SSL_new(contexts[0]) }

    /// The policy that a session's handshake ran under.
    func policy(of session: OpaquePointer) -> TLSPolicy {
        guard policies.count > 1 else { return policies[0] }
        let context = unsafe SSL_get_SSL_CTX(session)
        guard let place = unsafe contexts.firstIndex(where: { unsafe $0 == context }) else {
            preconditionFailure("another context's session")
        }
        return policies[policyOfContext[place]]
    }

    // MARK: The handshake

    /// Puts a session under the policy of the name that the client asks for, with its certificates. Runs before the
    /// version is chosen and before a ticket is looked at, so that no session begun under one policy goes on under
    /// another.
    fileprivate func choose(_ session: OpaquePointer, _ alert: inout CInt) -> Bool {
        let hasALPN =
            unsafe TLSContext.content(
                of: CUnsignedInt(TLSEXT_TYPE_application_layer_protocol_negotiation), session) != nil
        guard hasALPN || protocols.contains(.http1) else {
            // A client that names no protocol means HTTP/1.1.
            alert = SSL_AD_NO_APPLICATION_PROTOCOL
            return false
        }
        guard let content = unsafe TLSContext.content(of: CUnsignedInt(TLSEXT_TYPE_server_name), session) else {
            return true
        }
        do throws(ServerName.Refusal) {
            var policy = 0
            var group = 0
            try unsafe withName(content) { name in
                policy = self.policy(forName: name)
                group = groupNames.value(for: name) ?? 0
            }
            let place = places[policy * groupCount + group]
            guard place != 0 else { return true }
            alert = SSL_AD_INTERNAL_ERROR
            guard unsafe SSL_set_SSL_CTX(session, contexts[place]) != nil else { return false }
            return unsafe policy == 0 || policies[policy].apply(to: session)
        } catch {
            switch error {
            case .malformed: alert = SSL_AD_DECODE_ERROR
            case .unrecognized: alert = SSL_AD_UNRECOGNIZED_NAME
            }
            return false
        }
    }

    private func withName(
        _ content: UnsafeBufferPointer<UInt8>, _ body: (Span<UInt8>) -> Void
    ) throws(ServerName.Refusal) {
        // Room for the longest name; on the stack, since every handshake passes here.
        let result = unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 255) {
            region -> ServerName.Refusal? in
            do throws(ServerName.Refusal) {
                let count = try unsafe ServerName.read(Span(_unsafeElements: content), into: region)
                unsafe body(Span(_unsafeElements: UnsafeBufferPointer(rebasing: region[..<count])))
                return nil
            } catch {
                return error
            }
        }
        if let result { throw result }
    }

    /// The bytes of an extension of the hello, which live as long as the callback runs; `nil` where it is not there.
    private static func content(of type: CUnsignedInt, _ session: OpaquePointer) -> UnsafeBufferPointer<UInt8>? {
        var bytes: UnsafePointer<UInt8>?
        var count = 0
        guard unsafe SSL_client_hello_get0_ext(session, type, &bytes, &count) == 1 else { return nil }
        return unsafe UnsafeBufferPointer(start: bytes, count: count)
    }

    /// The first of ours that is in the client's list (RFC 7301 section 3.1).
    fileprivate func chosen(from offered: UnsafeBufferPointer<UInt8>) -> UnsafeBufferPointer<UInt8>? {
        for wanted in protocols {
            var position = 0
            while position < offered.count {
                let end = unsafe position + 1 + Int(offered[position])
                guard end <= offered.count else { break }
                let name = unsafe UnsafeBufferPointer(rebasing: offered[(position + 1)..<end])
                if unsafe name.elementsEqual(wanted.rawValue.utf8) { return unsafe name }
                position = end
            }
        }
        return nil
    }

    /// The staple of a certificate, while it is good.
    fileprivate func staple(of leaf: OpaquePointer?) -> OCSPStaple? {
        let certificate = certificates.first { unsafe $0.leaf == leaf && $0.staple != nil }
        guard let staple = certificate?.staple, currentEpochSeconds() < staple.goodUntil else { return nil }
        return staple
    }

    // MARK: Making contexts

    private static func makeContext(
        _ policy: TLSPolicy, _ certificates: [ServerCertificate]
    ) throws(TLSError) -> OpaquePointer {
        ERR_clear_error()
        guard let context = unsafe SSL_CTX_new(TLS_server_method()) else { throw TLSError("TLS context") }
        do throws(TLSError) {
            guard unsafe SSL_CTX_set_cipher_list(context, cipherList) == 1 else { throw TLSError("cipher list") }
            guard unsafe copenssl_set_groups(context, "X25519:P-256:P-384") == 1 else { throw TLSError("groups") }
            _ = unsafe copenssl_set_mode(context)
            _ = unsafe copenssl_set_options(context)
            unsafe copenssl_set_read_ahead(context)
            _ = unsafe copenssl_cache_off(context)
            // What is sent before the handshake is over can be sent again by anybody (RFC 8446 section 8).
            _ = unsafe SSL_CTX_set_max_early_data(context, 0)
            _ = unsafe SSL_CTX_set_tlsext_ticket_key_evp_cb(context, ticketKeyWanted)
            try unsafe policy.configure(context)
            for certificate in certificates { try unsafe certificate.install(in: context) }
            return unsafe context
        } catch {
            unsafe SSL_CTX_free(context)
            throw error
        }
    }

    /// TLS 1.2 suites with forward secrecy and AEAD only, as in Mozilla's intermediate profile without DHE.
    private static let cipherList =
        "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
        + "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
}

/// Which certificates answer for which names: of each kind of key one, so that OpenSSL can choose what the client
/// understands.
private struct CertificateGroups {
    /// Places of certificates. The first group answers where no name fits.
    private(set) var members: [[Int]] = []
    private(set) var names: [(name: String, value: Int)] = []
    private let certificates: [ServerCertificate]

    init(_ certificates: [ServerCertificate]) {
        self.certificates = certificates
        let usual = certificates[0].names.first.map { members(for: $0) } ?? [0]
        members = [usual.contains(0) ? usual : [0]]
        var seen: Set<String> = []
        for name in certificates.flatMap(\.names) where seen.insert(name).inserted {
            let wanted = members(for: name)
            let group = members.firstIndex(of: wanted) ?? members.count
            if group == members.count { members.append(wanted) }
            names.append((name, group))
        }
    }

    /// The first certificate of each kind of key with this name, else with a wildcard for it.
    private func members(for name: String) -> [Int] {
        var chosen: [CInt: Int] = [:]
        let parent = name.firstIndex(of: ".").map { "*" + name[$0...] }
        for wanted in [name, parent] {
            guard let wanted else { continue }
            for (place, certificate) in certificates.enumerated() where certificate.names.contains(wanted) {
                chosen[certificate.keyKind] = chosen[certificate.keyKind] ?? place
            }
        }
        return chosen.values.sorted()
    }

    /// Whether a name that leads to the group may be one of these hosts.
    func mayServe(_ group: Int, _ hosts: [String]) -> Bool {
        names.contains { entry in
            guard entry.value == group else { return false }
            return hosts.contains { host in
                guard host.hasPrefix("*.") else {
                    return entry.name == host
                        || (entry.name.hasPrefix("*.")
                            && host.firstIndex(of: ".").map { host[$0...] == entry.name.dropFirst() } == true)
                }
                return entry.name == host || entry.name.hasSuffix(host.dropFirst())
            }
        }
    }
}

private func owner(_ argument: UnsafeMutableRawPointer) -> TLSContext {
    // Set in `TLSContext.init`, which says what keeps it valid.
    unsafe Unmanaged<TLSContext>.fromOpaque(argument).takeUnretainedValue()
}

private func helloReceived(
    _ session: OpaquePointer?, _ alert: UnsafeMutablePointer<CInt>?, _ argument: UnsafeMutableRawPointer?
) -> CInt {
    guard let session = unsafe session, let argument = unsafe argument else { return SSL_CLIENT_HELLO_ERROR }
    var number = SSL_AD_INTERNAL_ERROR
    if unsafe owner(argument).choose(session, &number) { return SSL_CLIENT_HELLO_SUCCESS }
    unsafe alert?.pointee = number
    return SSL_CLIENT_HELLO_ERROR
}

/// The name was used already; it is acknowledged (RFC 6066 section 3).
private func serverNameAnswered(
    _ session: OpaquePointer?, _ alert: UnsafeMutablePointer<CInt>?, _ argument: UnsafeMutableRawPointer?
) -> CInt {
    guard unsafe SSL_get_servername(session, TLSEXT_NAMETYPE_host_name) != nil else { return SSL_TLSEXT_ERR_NOACK }
    return SSL_TLSEXT_ERR_OK
}

/// A client that offers none of ours is refused (RFC 7301 section 3.2).
private func applicationProtocolOffered(
    _ session: OpaquePointer?, _ chosen: UnsafeMutablePointer<UnsafePointer<UInt8>?>?,
    _ chosenLength: UnsafeMutablePointer<UInt8>?, _ offered: UnsafePointer<UInt8>?, _ offeredLength: CUnsignedInt,
    _ argument: UnsafeMutableRawPointer?
) -> CInt {
    // OpenSSL promises so many bytes for the length of the call, and copies the name that is pointed out to it.
    let list = unsafe UnsafeBufferPointer(start: offered, count: Int(offeredLength))
    guard let argument = unsafe argument, let name = unsafe owner(argument).chosen(from: list) else {
        return SSL_TLSEXT_ERR_ALERT_FATAL
    }
    unsafe chosen?.pointee = name.baseAddress
    unsafe chosenLength?.pointee = UInt8(name.count)
    return SSL_TLSEXT_ERR_OK
}

private func stapleAsked(_ session: OpaquePointer?, _ argument: UnsafeMutableRawPointer?) -> CInt {
    guard let session = unsafe session, let argument = unsafe argument,
        let response = unsafe owner(argument).staple(of: SSL_get_certificate(session))?.response,
        let copy = unsafe copenssl_allocate(response.count)
    else { return SSL_TLSEXT_ERR_NOACK }
    // As many bytes as there are, which the session owns from now on.
    for index in response.indices { unsafe copy[index] = response[index] }
    _ = unsafe copenssl_set_staple(session, copy, response.count)
    return SSL_TLSEXT_ERR_OK
}

/// 0: this ticket is not read; 1: go on; 2: go on, and give the client a newer ticket; -1: failed.
private func ticketKeyWanted(
    _ session: OpaquePointer?, _ name: UnsafeMutablePointer<UInt8>?, _ vector: UnsafeMutablePointer<UInt8>?,
    _ cipher: OpaquePointer?, _ mac: OpaquePointer?, _ isMaking: CInt
) -> CInt {
    guard let session = unsafe session, let name = unsafe name, let vector = unsafe vector,
        let cipher = unsafe cipher, let mac = unsafe mac, let keys = unsafe TLSWire.of(session)?.ticketKeys
    else { return -1 }
    if isMaking == 1 { return unsafe keys.beginTicket(name, vector, cipher, mac) ? 1 : -1 }
    switch unsafe keys.beginReading(name, vector, cipher, mac) {
    case .none: return 0
    // A ticket of TLS 1.3 is good for one connection (RFC 8446 appendix C.4).
    case .some(0): return unsafe SSL_version(session) == TLS1_3_VERSION ? 2 : 1
    case .some: return 2
    }
}
