extension ConfigurationReader {
    func log(in root: Section) -> GatewayConfiguration.Log {
        let section = self.section("log", in: root)
        let destination: GatewayConfiguration.Log.Destination =
            switch value(Settings.logAccess, in: section) {
            case "off": .off
            case "stdout": .standardOutput
            case let path: .file(resolved(path))
            }
        if case .file(let path) = destination {
            parts.accessLog = .init(path: path, location: place(of: Settings.logAccess.key, in: section))
        }
        return .init(access: destination, level: value(Settings.logLevel, in: section))
    }

    func admin(in root: Section) -> GatewayConfiguration.Admin {
        let isOverridden = Settings.adminAddress.environmentName.map { environment[$0] != nil } ?? false
        if !isOverridden, let pair = root.pair("admin"), case .scalar = pair.node.value {
            _ = word("off", of: pair.node, at: root.path.key("admin"), orKeys: "address")
            return .init(address: nil, mode: GatewayConfiguration.socketModeByDefault)
        }
        let hasWord = root.pair("admin")?.node.word != nil
        let section =
            hasWord
            ? Section(path: root.path.key("admin"), pairs: [], line: root.line, column: root.column, isPresent: false)
            : section("admin", in: root)
        let address = value(Settings.adminAddress, in: section)
        return .init(address: address, mode: socketMode(Settings.adminMode, of: address, in: section))
    }

    /// The mode of a Unix socket's file; a port has none.
    private func socketMode(_ setting: Setting<UInt32>, of address: SocketAddress?, in section: Section) -> UInt32 {
        let mode = optional(setting, in: section)
        if mode != nil, case .tcp? = address {
            error(
                section.location(of: setting.key), "the address is no Unix socket, so there is no file",
                cure: "remove it, or write an address such as unix:/run/auth-gateway/http.sock")
        }
        return mode ?? GatewayConfiguration.socketModeByDefault
    }

    /// Whether a single value is the one word that may stand instead of a mapping; anything else is reported.
    func word(_ word: String, of node: YAMLNode, at path: ConfigurationPath, orKeys keys: String) -> Bool {
        let location = SourceLocation(path: path.description, line: node.line, column: node.column)
        guard let text = node.word, let source = expanded(text, at: location) else { return false }
        guard source.text == word else {
            error(location, "\(source.text.quoted) stands here", cure: "write \(word), or a mapping with \(keys)")
            return false
        }
        record(path, word, source.origin)
        return true
    }

    func listener(_ section: Section) -> GatewayConfiguration.Listener? {
        typealias Keys = Settings.Listener
        let address = optional(Keys.address, in: section)
        let mode = socketMode(Keys.mode, of: address, in: section)
        if case .unix(let path)? = address {
            parts.sockets.append(.init(path: path, location: section.location(of: Keys.address.key)))
        }
        let tls = section.pair("tls").flatMap { self.tls(self.section($0.node, at: section.path.key("tls"))) }
        let port = optional(Keys.redirectToHTTPS, in: section)
        if section.pair("tls") != nil, port != nil {
            error(
                section.location(of: Keys.redirectToHTTPS.key), "the listener has TLS and redirects to it",
                cure: "redirect from another listener, or remove 'tls'")
        }
        let publicPort = optional(Keys.publicPort, in: section)
        let connectionsMax = value(Keys.connectionsMax, in: section)
        let connectionsPerAddressMax = optional(Keys.connectionsPerAddressMax, in: section)
        let handshakesMax = value(Keys.handshakesMax, in: section)
        let proxyProtocol = list(Keys.proxyProtocol, in: section)
        let handshakeTimeout = value(Keys.handshakeTimeout, in: section)
        let headTimeout = value(Keys.headTimeout, in: section)
        let bodyTimeout = value(Keys.bodyTimeout, in: section)
        let bodyRateMin = value(Keys.bodyRateMin, in: section)
        let requestTimeout = optional(Keys.requestTimeout, in: section)
        let idleTimeout = value(Keys.idleTimeout, in: section)
        let tunnelIdleTimeout = value(Keys.tunnelIdleTimeout, in: section)
        let headBytesMax = value(Keys.headBytesMax, in: section)
        let fieldsMax = value(Keys.fieldsMax, in: section)
        let chunkExtensionBytesMax = value(Keys.chunkExtensionBytesMax, in: section)
        let http2 = self.http2(self.section("http2", in: section))
        let allowInvalidUTF8 = value(Keys.allowInvalidUTF8, in: section)
        let underscoreHeaders = value(Keys.underscoreHeaders, in: section)
        guard let address, section.pair("tls") == nil || tls != nil else { return nil }
        return .init(
            location: section.location, address: address, mode: mode, tls: tls,
            redirectToHTTPSPort: port.map(UInt16.init),
            publicPort: publicPort.map(UInt16.init), connectionsMax: connectionsMax,
            connectionsPerAddressMax: connectionsPerAddressMax, handshakesMax: handshakesMax,
            proxyProtocol: proxyProtocol ?? [],
            handshakeTimeout: handshakeTimeout,
            headTimeout: headTimeout,
            bodyTimeout: bodyTimeout, bodyRateMin: bodyRateMin, requestTimeout: requestTimeout,
            idleTimeout: idleTimeout, tunnelIdleTimeout: tunnelIdleTimeout,
            headBytesMax: headBytesMax, fieldsMax: fieldsMax, chunkExtensionBytesMax: chunkExtensionBytesMax,
            http2: http2, allowInvalidUTF8: allowInvalidUTF8, underscoreHeaders: underscoreHeaders)
    }

    private func http2(_ section: Section) -> GatewayConfiguration.HTTP2 {
        typealias Keys = Settings.Listener
        return .init(
            streamsMax: value(Keys.streamsMax, in: section), streamWindow: value(Keys.streamWindow, in: section),
            glitchesMax: value(Keys.glitchesMax, in: section))
    }

    func upstream(_ pair: YAMLPair, at path: ConfigurationPath) -> GatewayConfiguration.Upstream? {
        typealias Keys = Settings.Upstream
        let section = self.section(pair.node, at: path)
        let name = checkedName(pair, at: path)
        if pair.key == "identity" {
            error(
                SourceLocation(path: path.description, line: pair.line, column: pair.column),
                "'identity' is the name of the service in this program", cure: "choose another name")
        }
        let endpoints = list(Keys.endpoints, in: section)
        let connectTimeout = value(Keys.connectTimeout, in: section)
        let firstByteTimeout = value(Keys.firstByteTimeout, in: section)
        let idleTimeout = value(Keys.idleTimeout, in: section)
        let keepAlive = self.section("keep_alive", in: section)
        let keepAliveTimeout = value(Keys.keepAliveTimeout, in: keepAlive)
        let keepAliveConnectionsMax = value(Keys.keepAliveConnectionsMax, in: keepAlive)
        let exchangesMax = optional(Keys.exchangesMax, in: section)
        let queueMax = value(Keys.queueMax, in: section)
        let queueTimeout = value(Keys.queueTimeout, in: section)
        let headBytesMax = value(Keys.headBytesMax, in: section)
        guard let name, let endpoints else { return nil }
        if endpoints.count > 64 {
            error(
                section.location(of: Keys.endpoints.key), "an upstream has \(endpoints.count) endpoints",
                cure: "at most 64 are allowed")
        }
        return .init(
            location: SourceLocation(path: path.description, line: pair.line, column: pair.column), name: name,
            endpoints: endpoints, connectTimeout: connectTimeout, firstByteTimeout: firstByteTimeout,
            idleTimeout: idleTimeout, keepAliveTimeout: keepAliveTimeout,
            keepAliveConnectionsMax: keepAliveConnectionsMax, exchangesMax: exchangesMax, queueMax: queueMax,
            queueTimeout: queueTimeout, headBytesMax: headBytesMax)
    }

    func buffering(in root: Section) -> GatewayConfiguration.Buffering {
        typealias Keys = Settings.Buffering
        let section = self.section("buffering", in: root)
        let fileBytesMax = value(Keys.fileBytesMax, in: section)
        let allFilesBytesMax = value(Keys.allFilesBytesMax, in: section)
        if fileBytesMax > allFilesBytesMax, isSound(section.path) {
            error(
                section.location(of: Keys.fileBytesMax.key), "one file may be larger than all together",
                cure: "lower it, or raise '\(Keys.allFilesBytesMax.key)'")
        }
        let folder = optional(Keys.folder, in: section).map(resolved)
        parts.bodyFolder = folder.map { .init(path: $0, location: place(of: Keys.folder.key, in: section)) }
        return .init(
            location: section.location, requestMemoryBytesMax: value(Keys.requestMemoryBytesMax, in: section),
            responseMemoryBytesMax: value(Keys.responseMemoryBytesMax, in: section), fileBytesMax: fileBytesMax,
            allFilesBytesMax: allFilesBytesMax, folder: folder)
    }

    /// A name that the file chooses.
    func checkedName(_ pair: YAMLPair, at path: ConfigurationPath) -> String? {
        do {
            return try SettingType<String>.name.read(pair.key)
        } catch {
            self.error(
                SourceLocation(path: path.description, line: pair.line, column: pair.column), error.message,
                cure: "write \(SettingType<String>.name.allowed)")
            return nil
        }
    }
}
