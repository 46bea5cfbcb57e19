internal import IdentityModel

extension ConfigurationReader {
    func tls(_ section: Section) -> GatewayConfiguration.TLS? {
        typealias Keys = Settings.TLS
        let members = sections("certificates", in: section)
        if members.isEmpty, !isUnread("certificates", in: section) {
            error(
                section.location(of: "certificates"), "no certificate is given",
                cure: "write certificates: [{ certificate: FILE, key: FILE }]")
        }
        let certificates = members.compactMap(certificate)
        let profile = value(Keys.profile, in: section)
        let protocols = protocols(in: section)
        let own = GatewayConfiguration.TLS.Rules(
            profile: profile,
            clientCertificates: clientCertificates(in: section, Keys.clientCertificates, otherwise: nil))
        let hostSections = sections("hosts", in: section)
        let hosts = hostSections.compactMap { self.hosts($0, listener: own) }
        checkHostNames(hosts)
        guard certificates.count == members.count, !certificates.isEmpty, hosts.count == hostSections.count else {
            return nil
        }
        return .init(certificates: certificates, protocols: protocols, rules: own, hosts: hosts)
    }

    /// What all listeners share.
    func tickets(in root: Section) -> GatewayConfiguration.Tickets {
        typealias Keys = Settings.TLS
        let section = self.section("tls", in: root)
        let rotation = value(Keys.ticketRotation, in: section)
        let path = optional(Keys.ticketKeysFile, in: section)
        if let path {
            let location = place(of: Keys.ticketKeysFile.key, in: section)
            if privateFile(path, at: location, bytesMax: 65_536) != nil {
                parts.ticketKeys = .init(path: resolved(path), location: location)
            }
        }
        return .init(rotation: rotation, keysPath: path.map(resolved))
    }

    private func protocols(in section: Section) -> [GatewayConfiguration.TLS.ApplicationProtocol] {
        let setting = Settings.TLS.protocols
        let protocols = list(setting, in: section) ?? GatewayConfiguration.TLS.protocolsByDefault
        if Set(protocols).count != protocols.count {
            error(section.location(of: setting.key), "a protocol is named twice", cure: "name it once")
        }
        return protocols
    }

    private func certificate(_ section: Section) -> GatewayConfiguration.TLS.Certificate? {
        typealias Keys = Settings.TLS
        let certificate = optional(Keys.certificate, in: section)
        let key = optional(Keys.key, in: section)
        let ocsp = optional(Keys.ocsp, in: section)
        parts.certificates.append(
            .init(
                certificate: certificate.flatMap {
                    checkedCertificate($0, at: section.location(of: Keys.certificate.key))
                }, key: key.flatMap { checkedKey($0, at: section.location(of: Keys.key.key)) },
                ocsp: ocsp.flatMap { path in
                    let location = section.location(of: Keys.ocsp.key)
                    return contents(path, at: location, bytesMax: pemBytesMax).map { _ in
                        .init(path: resolved(path), location: location)
                    }
                }))
        guard let certificate, let key else { return nil }
        return .init(
            location: section.location, certificate: resolved(certificate), key: resolved(key),
            ocsp: ocsp.map(resolved))
    }

    /// A file with certificates in PEM; `nil` where it is none, which is reported.
    func checkedCertificate(_ path: String, at location: SourceLocation) -> ConfigurationParts.File? {
        guard let contents = contents(path, at: location, bytesMax: pemBytesMax) else { return nil }
        guard String(decoding: contents.bytes, as: UTF8.self).contains("-----BEGIN CERTIFICATE-----") else {
            error(
                location, "the file \(path.quoted) holds no certificate", cure: "name a PEM file with BEGIN CERTIFICATE"
            )
            return nil
        }
        return .init(path: resolved(path), location: location)
    }

    private func checkedKey(_ path: String, at location: SourceLocation) -> ConfigurationParts.File? {
        guard let bytes = privateFile(path, at: location, bytesMax: pemBytesMax) else { return nil }
        let text = String(decoding: bytes, as: UTF8.self)
        guard text.contains("PRIVATE KEY-----") else {
            error(
                location, "the file \(path.quoted) holds no private key", cure: "name a PEM file with BEGIN PRIVATE KEY"
            )
            return nil
        }
        guard !text.contains("ENCRYPTED") else {
            error(location, "the key in \(path.quoted) has a passphrase", cure: "store it without one, with mode 0600")
            return nil
        }
        return .init(path: resolved(path), location: location)
    }

    private var pemBytesMax: Int { 1 << 20 }

    // MARK: Hosts

    private func hosts(
        _ section: Section, listener: GatewayConfiguration.TLS.Rules
    ) -> GatewayConfiguration.TLS.Hosts? {
        typealias Keys = Settings.TLS
        let names = list(Keys.hostNames, in: section)
        let profile = optional(Keys.hostProfile, in: section) ?? listener.profile
        // What is not written is as for the listener: leaving a key out never asks for less.
        let clientCertificates = clientCertificates(
            in: section, Keys.hostClientCertificates, otherwise: listener.clientCertificates)
        guard let names else { return nil }
        return .init(
            location: section.location, names: names,
            rules: .init(profile: profile, clientCertificates: clientCertificates))
    }

    private func checkHostNames(_ hosts: [GatewayConfiguration.TLS.Hosts]) {
        var seen: Set<String> = []
        for entry in hosts {
            for name in entry.names where !seen.insert(name).inserted {
                error(
                    entry.location, "the host \(name.quoted) is named twice for this listener",
                    cure: "name it once: two rules for one host contradict each other")
            }
        }
    }

    // MARK: Client certificates

    private func clientCertificates(
        in parent: Section, _ keys: Settings.ClientCertificates,
        otherwise inherited: GatewayConfiguration.TLS.ClientCertificates?
    ) -> GatewayConfiguration.TLS.ClientCertificates? {
        let key = SettingPattern.key(of: keys.group.pattern)
        guard let pair = parent.pair(key) else { return inherited }
        if pair.node.word != nil {
            _ = word("off", of: pair.node, at: parent.path.key(key), orKeys: "mode and ca")
            return nil
        }
        let section = self.section(pair.node, at: parent.path.key(key))
        let mode = value(keys.mode, in: section)
        let authorities = optional(keys.authorities, in: section)
        let revocations = optional(keys.revocations, in: section)
        let depth = value(keys.depth, in: section)
        let issuer = optional(keys.issuer, in: section)
        let identifier = list(keys.identifier, in: section) ?? [.uri, .email, .dns]
        let roles = list(keys.roles, in: section, mayBeEmpty: true) ?? []
        let prefix = optional(keys.prefix, in: section)
        let authorityFile = authorities.flatMap {
            checkedCertificate($0, at: section.location(of: keys.authorities.key))
        }
        if let authorityFile { parts.authorities.append(authorityFile) }
        if let revocations { checkRevocations(revocations, at: section.location(of: keys.revocations.key)) }
        guard let authorities else { return nil }
        return .init(
            location: section.location, mode: mode, authorities: resolved(authorities),
            revocations: revocations.map(resolved), depth: depth, issuer: issuer, identifier: identifier,
            roles: Set(roles), prefix: prefix)
    }

    private func checkRevocations(_ path: String, at location: SourceLocation) {
        guard let contents = contents(path, at: location, bytesMax: 64 << 20) else { return }
        guard String(decoding: contents.bytes, as: UTF8.self).contains("-----BEGIN X509 CRL-----") else {
            error(
                location, "the file \(path.quoted) holds no revocation list",
                cure: "name a PEM file with BEGIN X509 CRL")
            return
        }
        parts.revocations.append(.init(path: resolved(path), location: location))
    }
}
