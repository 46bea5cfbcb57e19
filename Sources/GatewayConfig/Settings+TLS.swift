internal import IdentityModel

extension Settings {
    /// What listeners with TLS have.
    enum TLS {
        static let certificate = Setting.required(
            "listeners[].tls.certificates[].certificate", .path, help: "PEM file with the certificate and its chain.")
        static let key = Setting.required(
            "listeners[].tls.certificates[].key", .path,
            help: "PEM file with the private key, without passphrase, closed to other users.")
        static let ocsp = Setting.optional(
            "listeners[].tls.certificates[].ocsp", .path, absent: "nothing is stapled",
            help: "File with an OCSP response for the certificate, in DER, which is stapled until its `nextUpdate`.")
        static let profile = Setting.with(
            "listeners[].tls.profile", .choice, default: GatewayConfiguration.TLS.Profile.intermediate,
            help: "Mozilla's profiles: `intermediate` is TLS 1.2 and 1.3, `modern` TLS 1.3 alone.")
        static let protocols = Setting<GatewayConfiguration.TLS.ApplicationProtocol>.optional(
            "listeners[].tls.protocols", .choice,
            absent: GatewayConfiguration.TLS.protocolsByDefault.map { "`\($0.rawValue)`" }.joined(separator: ", "),
            isList: true,
            help: "What is spoken within TLS: the first of the list that the client names in ALPN. A client that names "
                + "none gets `http/1.1`; where nothing fits, the handshake fails.")
        static let clientCertificates = ClientCertificates("listeners[].tls")
        static let hostNames = Setting.required(
            "listeners[].tls.hosts[].names", .serverName, isList: true,
            help: "A leading `*.` stands for one or more labels. An exact name comes before the longest `*.`.")
        static let hostProfile = Setting<GatewayConfiguration.TLS.Profile>.optional(
            "listeners[].tls.hosts[].profile", .choice, absent: "that of the listener",
            help: "The profile for these hosts.")
        static let hostClientCertificates = ClientCertificates("listeners[].tls.hosts[]")

        static let ticketRotation = Setting.with(
            "tls.ticket_rotation", .duration(.minutes(1) ... .days(7)), default: .hours(12),
            help: "How often the key of session tickets changes; the last two still decrypt.")
        static let ticketKeysFile = Setting.optional(
            "tls.ticket_keys_file", .path, absent: "keys of this process's own",
            help: "File with the keys of session tickets, where nodes share them: 80 random bytes in base64 on each "
                + "line, closed to other users. The first key encrypts, all decrypt; nothing rotates by itself.")

        static let listeners: [any SettingDeclaration] =
            [
                SettingGroup(
                    "listeners[].tls", .mapping(word: nil), help: "TLS; a listener without it speaks plain HTTP."),
                SettingGroup(
                    "listeners[].tls.certificates", .listOfMappings,
                    help: "Chosen by the name that the peer asks for; the first one answers where none fits. A name "
                        + "may have an RSA certificate beside an ECDSA one."),
                certificate, key, ocsp, profile, protocols,
            ] + clientCertificates.all + [
                SettingGroup(
                    "listeners[].tls.hosts", .listOfMappings,
                    help: "Hosts with rules of their own. A request whose host falls under other rules than its "
                        + "connection's handshake did is answered 421."),
                hostNames, hostProfile,
            ] + hostClientCertificates.all

        static let process: [any SettingDeclaration] = [
            SettingGroup("tls", .mapping(word: nil), help: "TLS of all listeners."),
            ticketRotation, ticketKeysFile,
        ]
    }

    /// Client certificates, of a listener or of some of its hosts.
    struct ClientCertificates: Sendable {
        let group: SettingGroup
        let mode: Setting<GatewayConfiguration.TLS.ClientCertificates.Mode>
        let authorities: Setting<String>
        let revocations: Setting<String>
        let depth: Setting<Int>
        let issuer: Setting<String>
        let identifier: Setting<GatewayConfiguration.TLS.ClientCertificates.Identifier>
        let roles: Setting<Role>
        let prefix: Setting<String>

        init(_ parent: String) {
            let base = parent + ".client_certificates"
            group = SettingGroup(
                base, .mapping(word: "off"),
                help: parent.hasSuffix("[]")
                    ? "What holds for these hosts instead of the listener's; `off` asks for none."
                    : "Certificates that clients show; routes count them where `credentials` names `certificate`.")
            mode = .with(
                base + ".mode", .choice, default: .require,
                help: "`require`: without a certificate there is no connection; `request`: it may be left out. One "
                    + "that is not valid ends the handshake in either mode.")
            authorities = .required(base + ".ca", .path, help: "PEM file of the authorities that vouch for clients.")
            revocations = .optional(
                base + ".crl", .path, absent: "nothing is revoked",
                help: "PEM file with a revocation list of every authority in the chain. Where one is missing or past "
                    + "its `nextUpdate`, every certificate is refused.")
            depth = .with(
                base + ".depth", .integer(0...10), default: 3,
                help: "The most authorities between the certificate and one of `ca`.")
            issuer = .optional(
                base + ".issuer", .tokenName, absent: "the issuer's name in the certificate",
                help: "The issuer of the subjects.")
            identifier = .optional(
                base + ".identifier", .choice, absent: "`san_uri`, `san_email`, `san_dns`", isList: true,
                help: "What names the subject: the first of these that the certificate has, and has once.")
            roles = .optional(base + ".roles", .role, absent: "none", isList: true, help: "The roles of the subjects.")
            prefix = .optional(
                base + ".prefix", .text(bytesMax: 64), absent: "none",
                help: "Put before the user's name. A route that takes users from two sources needs it on all but one.")
        }

        var all: [any SettingDeclaration] {
            [group, mode, authorities, revocations, depth, issuer, identifier, roles, prefix]
        }
    }
}

extension SettingType where Value == String {
    /// A DNS name as clients ask for it, or `*.` and one; lower case, without trailing dot.
    static let serverName = SettingType(
        name: "host", allowed: "a host name such as app.example.com or *.example.com",
        schema: hostPattern.schema,
        read: { text throws(Refusal) in
            let host = try hostPattern.read(text)
            guard !host.hasPrefix("["), HostName.addressBytes(host) == nil else {
                throw Refusal("\(text.quoted) is an address, and no client asks for one in its handshake")
            }
            return host
        },
        show: { $0 })
}
