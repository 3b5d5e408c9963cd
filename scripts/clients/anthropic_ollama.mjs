// Anthropic's and Ollama's own packages, and the AI SDK's providers for both, against a running server.
//
//   npm install @anthropic-ai/sdk ollama ai @ai-sdk/anthropic ollama-ai-provider-v2 zod
//   linnet serve MODEL --name NAME
//   node anthropic_ollama.mjs http://127.0.0.1:8080 NAME     (where the packages were installed)
import assert from 'node:assert/strict'
import Anthropic from '@anthropic-ai/sdk'
import { createAnthropic } from '@ai-sdk/anthropic'
import { generateText, streamText } from 'ai'
import { Ollama } from 'ollama'
import { createOllama } from 'ollama-ai-provider-v2'

const [url, name] = process.argv.slice(2)
const messages = [{ role: 'user', content: 'Say hello.' }]

const anthropic = new Anthropic({ baseURL: url, apiKey: '-', maxRetries: 0 })
const body = { model: name, max_tokens: 50, messages }
const whole = await anthropic.messages.create(body)
const streamed = await anthropic.messages.stream(body).finalMessage()
assert.ok(whole.stop_reason && streamed.usage.output_tokens)
assert.ok((await anthropic.messages.countTokens({ model: name, messages })).input_tokens)
console.log('Anthropic:', JSON.stringify(whole.content))

const ollama = new Ollama({ host: url })
assert.ok((await ollama.list()).models.length && (await ollama.version()).version)
let text = ''
for await (const part of await ollama.chat({ model: name, messages, stream: true, options: { num_predict: 50 } }))
  text += part.message.content
console.log('Ollama:', JSON.stringify(text))

const providers = [createAnthropic({ baseURL: `${url}/v1`, apiKey: '-' }), createOllama({ baseURL: `${url}/api` })]
for (const provider of providers) {
  const settings = { model: provider(name), prompt: 'Say hello.', maxOutputTokens: 50, maxRetries: 0 }
  const answer = await generateText(settings)
  let pieces = ''
  for await (const piece of streamText(settings).textStream) pieces += piece
  console.log(settings.model.provider, JSON.stringify([answer.text, pieces]), answer.finishReason)
}
