// SPDX-License-Identifier: Apache-2.0
/** What decides about trust, on input that nobody thought of: it says no, and only by a Fault. */
import { X509Certificate } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Fault } from '../../src/base/fault.ts'
import { factsOf } from '../../src/host/trust/der.ts'
import { sigstoreCheck } from '../../src/host/trust/sigstore.ts'
import { parseReference } from '../../src/model/reference.ts'
import { parseStrictJson } from '../../src/model/strict-json.ts'
import { acceptsIdentity, ruleFor, scopesOf } from '../../src/model/trust-identity.ts'
import { parseTrustPolicy } from '../../src/model/trust-policy.ts'
import { certified, cosign, logged, pemOf } from '../support/signing.ts'
import { makeCertificate, makeRoot, p256 } from '../support/x509.ts'

describe('strict JSON', () => {
  test('is JSON, for what has no key twice', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5 }), fc.nat(3), (value, indent) => {
        const text = JSON.stringify(value, undefined, indent)
        expect(parseStrictJson(text).value).toEqual(JSON.parse(text))
      }),
    )
  })

  test('finds a key that is there twice, wherever it is', () => {
    const path = fc.array(fc.constantFrom('[', '{'), { maxLength: 8 })
    fc.assert(
      fc.property(path, fc.string(), fc.jsonValue({ maxDepth: 2 }), (around, key, value) => {
        const name = JSON.stringify(key)
        let text = `{${name}: ${JSON.stringify(value)}, "other\\u0000": 1, ${name}: 0}`
        for (const bracket of around) text = bracket === '[' ? `[1, ${text}]` : `{"a": 1, "b": ${text}}`
        expect(() => parseStrictJson(text)).toThrow(/there twice/)
      }),
    )
  })
})

const part = fc.stringMatching(/^[a-z0-9]{1,6}$/)
const reference = fc
  .tuple(fc.array(part, { minLength: 2, maxLength: 3 }), fc.array(part, { minLength: 1, maxLength: 3 }), part)
  .map(([host, path, tag]) => `${host.join('.')}/${path.join('/')}:${tag}`)

describe('a policy', () => {
  test('accepts no image outside of the scopes that are accepted', () => {
    fc.assert(
      fc.property(reference, reference, fc.nat(9), (accepted, asked, at) => {
        const scopes = scopesOf(parseReference(accepted))
        const scope = scopes[at % scopes.length] ?? ''
        const docker = { [scope]: [{ type: 'insecureAcceptAnything' }] }
        const policy = parseTrustPolicy(
          JSON.stringify({ default: [{ type: 'reject' }], transports: { docker } }),
          '/p',
        )
        const rule = ruleFor(policy, parseReference(asked)).requirements[0]?.type
        expect(rule === 'insecureAcceptAnything').toBe(scopesOf(parseReference(asked)).includes(scope))
      }),
    )
  })

  test('never takes the name of another repository for that of the image', () => {
    const rule = fc.constantFrom('matchExact', 'matchRepoDigestOrExact', 'matchRepository')
    fc.assert(
      fc.property(rule, reference, reference, (type, asked, signed) => {
        const repository = (name: string) => name.slice(0, name.lastIndexOf(':'))
        if (acceptsIdentity({ type }, parseReference(asked), signed))
          expect(repository(signed)).toBe(repository(asked))
      }),
    )
  })
})

const flipped = (bytes: Buffer, at: number, bit: number): Buffer => {
  const copy = Buffer.from(bytes)
  const i = at % copy.length
  copy[i] = (copy[i] ?? 0) ^ (1 << bit)
  return copy
}

describe('one bit', () => {
  const root = makeRoot('root')
  const signer = p256()
  const log = p256()
  const pem = makeCertificate({
    name: 'leaf',
    publicKey: signer.publicKey,
    issuer: root,
    email: 'a@b.example',
    oidcIssuer: 'https://i',
  })

  test('in a certificate is read or refused, but no surprise', () => {
    const der = new X509Certificate(pem).raw
    fc.assert(
      fc.property(fc.nat(), fc.nat(7), (at, bit) => {
        let certificate: X509Certificate
        try {
          certificate = new X509Certificate(flipped(der, at, bit))
        } catch {
          return // OpenSSL has refused it
        }
        try {
          factsOf(certificate)
        } catch (e) {
          expect(e).toBeInstanceOf(Fault)
        }
      }),
      { numRuns: 500 },
    )
  })

  test('in any part of a keyless signature is refused', async () => {
    const data = (text: string) => ({ data: Buffer.from(text).toString('base64') })
    const check = await sigstoreCheck({
      type: 'sigstoreSigned',
      signer: { by: 'fulcio', ca: [data(root.pem)], oidcIssuer: 'https://i', subjectEmail: 'a@b.example' },
      rekor: [data(pemOf(log.publicKey))],
      identity: { type: 'matchRepository' },
    })
    const claim = { digest: `sha256:${'a'.repeat(64)}`, reference: 'r.io/a:1' }
    const good = certified(logged(cosign(claim, signer.privateKey), log.privateKey, { pem }), pem)
    expect(check(good).reference).toBe(claim.reference)
    const der = new X509Certificate(pem).raw
    fc.assert(
      fc.property(
        fc.constantFrom('payload', 'signature', 'certificate'),
        fc.nat(),
        fc.nat(7),
        (what, at, bit) => {
          const key = 'dev.cosignproject.cosign/signature'
          const signature = Buffer.from(good.annotations[key] ?? '', 'base64')
          const bad =
            what === 'payload'
              ? { ...good, payload: flipped(good.payload, at, bit) }
              : what === 'signature'
                ? {
                    ...good,
                    annotations: {
                      ...good.annotations,
                      [key]: flipped(signature, at, bit).toString('base64'),
                    },
                  }
                : certified(
                    good,
                    `-----BEGIN CERTIFICATE-----\n${flipped(der, at, bit).toString('base64')}\n-----END CERTIFICATE-----\n`,
                  )
          expect(() => check(bad)).toThrow(Fault)
        },
      ),
      { numRuns: 300 },
    )
  })
})
