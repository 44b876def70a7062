import { generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'

export interface TestCertificate {
  readonly key: string
  readonly cert: string
}

export interface CertificateChoices {
  /** DNS names and IPv4 addresses; default `localhost` and `127.0.0.1`. */
  readonly names?: readonly string[]
  readonly notBefore?: Date
  readonly notAfter?: Date
}

const dayMs = 86_400_000

/** A self-signed X.509 certificate (RFC 5280 section 4.1) with a new key, both as PEM. */
export function makeCertificate ({ names = ['localhost', '127.0.0.1'], notBefore = new Date(Date.now() - dayMs), notAfter = new Date(Date.now() + dayMs) }: CertificateChoices = {}): TestCertificate {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const algorithm = sequence(Buffer.from('06082a8648ce3d040302', 'hex')) // ecdsa-with-SHA256
  // Each its own: OpenSSL finds those that it trusts by their name.
  const name = sequence(tlv(0x31, sequence(Buffer.from('0603550403', 'hex'), tlv(0x0c, Buffer.from(randomBytes(8).toString('hex')))))) // CN
  const altNames = names.map((each) => /^[\d.]+$/.test(each) ? tlv(0x87, Buffer.from(each.split('.').map(Number))) : tlv(0x82, Buffer.from(each)))
  const extensions = sequence(
    sequence(Buffer.from('0603551d11', 'hex'), tlv(0x04, sequence(...altNames))), // subjectAltName
    sequence(Buffer.from('0603551d13', 'hex'), tlv(0x01, Buffer.of(0xff)), tlv(0x04, sequence(tlv(0x01, Buffer.of(0xff))))) // basicConstraints: a CA
  )
  const body = sequence(
    tlv(0xa0, tlv(0x02, Buffer.of(2))), // version 3
    tlv(0x02, Buffer.concat([Buffer.of(1), randomBytes(8)])),
    algorithm, name, sequence(time(notBefore), time(notAfter)), name,
    publicKey.export({ type: 'spki', format: 'der' }),
    tlv(0xa3, extensions)
  )
  const signature = tlv(0x03, Buffer.concat([Buffer.of(0), sign('sha256', body, privateKey)]))
  const der = sequence(body, algorithm, signature).toString('base64')
  return {
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    cert: `-----BEGIN CERTIFICATE-----\n${der.replace(/.{64}/g, '$&\n')}\n-----END CERTIFICATE-----\n`
  }
}

/** Lets this process trust the certificate, beside those it trusts already. */
export function trust ({ cert }: TestCertificate): void {
  setDefaultCACertificates([...getCACertificates('default'), cert])
}

function sequence (...parts: readonly Buffer[]): Buffer {
  return tlv(0x30, Buffer.concat(parts))
}

function time (date: Date): Buffer {
  return tlv(0x18, Buffer.from(`${date.toISOString().replace(/[-:T]|\..*/g, '')}Z`)) // GeneralizedTime
}

function tlv (tag: number, value: Buffer): Buffer {
  const { length } = value
  const head = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255]
  return Buffer.concat([Buffer.of(tag, ...head), value])
}
