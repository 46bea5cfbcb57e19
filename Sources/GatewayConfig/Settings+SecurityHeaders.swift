extension Settings {
    /// The same keys at the top of the file, for every route, and in a route.
    struct SecurityHeaders: Sendable {
        static let top = SecurityHeaders("security_headers", absent: "not sent", existing: "`keep`")
        static let route = SecurityHeaders(
            "routes[].security_headers", absent: "as at the top of the file", existing: "as at the top of the file")

        let hsts: Setting<Duration?>
        let hstsIncludeSubdomains: Setting<Bool>
        let hstsPreload: Setting<Bool>
        let nosniff: Setting<Bool>
        let frameOptions: Setting<String>
        let referrerPolicy: Setting<String>
        let contentSecurityPolicy: Setting<String>
        let permissionsPolicy: Setting<String>
        let existing: Setting<String>
        private let group: SettingGroup

        var all: [any SettingDeclaration] {
            [
                group, hsts, hstsIncludeSubdomains, hstsPreload, nosniff, frameOptions, referrerPolicy,
                contentSecurityPolicy, permissionsPolicy, existing,
            ]
        }

        private init(_ pattern: String, absent: String, existing: String) {
            let isTop = !pattern.contains("[")
            group = SettingGroup(
                pattern, .mapping(word: nil),
                help: isTop
                    ? "Fields that tell browsers to be strict, in the answers of every route and in the gateway's own."
                    : "The same for this route: key by key instead of those at the top of the file.")
            hsts = .optional(
                pattern + ".hsts", .durationOrOff, absent: absent,
                help:
                    "`max-age` of `Strict-Transport-Security`: how long browsers shall come to the host by HTTPS alone. "
                    + "Sent over TLS only. It holds for the whole host, whatever the route.")
            hstsIncludeSubdomains = .optional(
                pattern + ".hsts_include_subdomains", .boolean, absent: isTop ? "`false`" : absent,
                help: "Adds `includeSubDomains`: every host below it as well.")
            hstsPreload = .optional(
                pattern + ".hsts_preload", .boolean, absent: isTop ? "`false`" : absent,
                help: "Adds `preload`, which lets the host be put into the lists that browsers come with.")
            nosniff = .optional(
                pattern + ".nosniff", .boolean, absent: isTop ? "`false`" : absent,
                help: "`X-Content-Type-Options: nosniff`.")
            frameOptions = .optional(
                pattern + ".frame_options", .word("DENY", "SAMEORIGIN", "off"), absent: absent,
                help: "`X-Frame-Options`: whether pages may be shown within others.")
            referrerPolicy = .optional(
                pattern + ".referrer_policy", .referrerPolicy, absent: absent,
                help:
                    "`Referrer-Policy`: how much of an address browsers tell to others; of several the last one that a "
                    + "browser knows.")
            contentSecurityPolicy = .optional(
                pattern + ".content_security_policy", .fieldValue, absent: absent,
                help: "`Content-Security-Policy`; pages of the gateway's own have one of their own.")
            permissionsPolicy = .optional(
                pattern + ".permissions_policy", .fieldValue, absent: absent, help: "`Permissions-Policy`.")
            self.existing = .optional(
                pattern + ".existing", .word("keep", "replace"), absent: existing,
                help: "What becomes of such a field that the application has sent itself.")
        }
    }
}

extension SettingType where Value == Duration? {
    /// A length of time, or `off`.
    static let durationOrOff: SettingType = {
        let duration = SettingType<Duration>.duration(.zero ... .days(3650))
        return SettingType(
            name: duration.name, allowed: duration.allowed + ", or off",
            schema: .members(["type": .string("string"), "pattern": .string("^((0|[1-9][0-9]*)(ms|s|m|h|d)|off)$")]),
            read: { text throws(Refusal) in text == "off" ? nil : try duration.read(text) },
            show: { $0.map(duration.show) ?? "off" })
    }()
}

extension SettingType where Value == String {
    /// What may stand in a field as it is: printable ASCII, no blanks at the ends.
    static let fieldValue = SettingType(
        name: "text", allowed: "1 to 4096 printable ASCII characters, or off",
        schema: .members(["type": .string("string"), "pattern": .string("^[!-~]([ -~]{0,4094}[!-~])?$")]),
        read: { text throws(Refusal) in
            guard (1...4096).contains(text.utf8.count), text.utf8.allSatisfy({ (0x20...0x7E).contains($0) }),
                text.first != " ", text.last != " "
            else { throw Refusal("\(text.quoted) cannot be sent as it is") }
            return text
        },
        show: { $0 })

    /// One policy or several, the last of which that a browser knows counts (W3C Referrer Policy, section 8.1).
    static let referrerPolicy = SettingType(
        name: "policy", allowed: referrerPolicies.joined(separator: ", ") + ", several of these with commas, or off",
        schema: .members(["type": .string("string")]),
        read: { text throws(Refusal) in
            guard text != "off" else { return text }
            let names = text.split(separator: ",", omittingEmptySubsequences: false).map { name in
                String(name.drop { $0 == " " })
            }
            guard let unknown = names.first(where: { !referrerPolicies.contains($0) }) else {
                return names.joined(separator: ", ")
            }
            let near = NearestName.nearest(to: unknown, among: referrerPolicies).map { "; did you mean '\($0)'?" } ?? ""
            throw Refusal("\(unknown.quoted) is no referrer policy\(near)")
        },
        show: { $0 })

    private static let referrerPolicies = [
        "no-referrer", "no-referrer-when-downgrade", "same-origin", "origin", "strict-origin",
        "origin-when-cross-origin", "strict-origin-when-cross-origin", "unsafe-url",
    ]
}

extension ConfigurationReader {
    /// What a section says, over what holds outside of it.
    func securityHeaders(
        _ settings: Settings.SecurityHeaders, in parent: Section, over outer: GatewayConfiguration.SecurityHeaders
    ) -> GatewayConfiguration.SecurityHeaders {
        let section = self.section("security_headers", in: parent)
        func text(_ setting: Setting<String>, over outer: String?) -> String? {
            guard let text = optional(setting, in: section) else { return outer }
            return text == "off" ? nil : text
        }
        var headers = outer
        if let age = optional(settings.hsts, in: section) { headers.hstsMaxAge = age }
        headers.hstsIncludesSubdomains =
            optional(settings.hstsIncludeSubdomains, in: section) ?? outer.hstsIncludesSubdomains
        headers.hstsPreloads = optional(settings.hstsPreload, in: section) ?? outer.hstsPreloads
        headers.forbidsSniffing = optional(settings.nosniff, in: section) ?? outer.forbidsSniffing
        headers.frameOptions = text(settings.frameOptions, over: outer.frameOptions)
        headers.referrerPolicy = text(settings.referrerPolicy, over: outer.referrerPolicy)
        headers.contentSecurityPolicy = text(settings.contentSecurityPolicy, over: outer.contentSecurityPolicy)
        headers.permissionsPolicy = text(settings.permissionsPolicy, over: outer.permissionsPolicy)
        headers.replacesExisting =
            optional(settings.existing, in: section).map { $0 == "replace" } ?? outer.replacesExisting
        if section.isPresent, isSound(section.path) { check(headers, settings, in: section) }
        return headers
    }

    private func check(
        _ headers: GatewayConfiguration.SecurityHeaders, _ settings: Settings.SecurityHeaders, in section: Section
    ) {
        guard headers.hstsPreloads, section.pair(settings.hstsPreload.key) != nil else { return }
        guard headers.hstsIncludesSubdomains, (headers.hstsMaxAge ?? .zero) >= .days(365) else {
            error(
                section.location(of: settings.hstsPreload.key),
                "the lists of browsers take no host whose subdomains are left out, or whose time is below a year",
                cure: "write hsts: 365d and hsts_include_subdomains: true, or remove hsts_preload")
            return
        }
    }
}
