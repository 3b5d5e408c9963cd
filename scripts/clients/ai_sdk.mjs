// The AI SDK with its default for OpenAI (the Responses interface) against a running server.
//
//   npm install ai @ai-sdk/openai zod
//   linnet serve MODEL --name NAME
//   node ai_sdk.mjs http://127.0.0.1:8080 NAME     (where the packages were installed)
import assert from 'node:assert/strict'
import { createOpenAI } from '@ai-sdk/openai'
import { generateObject, generateText, Output, stepCountIs, streamText, tool } from 'ai'
import { z } from 'zod'

const [url, name] = process.argv.slice(2)
const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey: '-' })
const settings = { model: openai(name), maxOutputTokens: 200, temperature: 0, maxRetries: 0 }

const first = await generateText({ ...settings, prompt: 'Say hello.' })
assert.ok(first.text && first.usage.totalTokens)
const messages = [
  { role: 'user', content: 'Say hello.' },
  ...first.response.messages, // by reference to what the server keeps
  { role: 'user', content: 'Again, please.' },
]
const second = await generateText({ ...settings, messages })
const id = second.providerMetadata.openai.responseId
const following = { openai: { previousResponseId: id } }
const third = await generateText({ ...settings, prompt: 'More.', providerOptions: following })
console.log('answers:', first.text, '|', second.text, '|', third.text)

const untracked = { openai: { store: false, logprobs: 2 } }
const scored = await generateText({ ...settings, prompt: 'Hi.', providerOptions: untracked })
assert.ok(scored.providerMetadata.openai.logprobs[0].length)

const weather = tool({
  description: 'The weather in a city',
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `It is sunny in ${city}.`,
})
const asked = { ...settings, tools: { weather }, prompt: 'What is the weather in Rome?' }
const called = await generateText({ ...asked, toolChoice: 'required', stopWhen: stepCountIs(1) })
assert.match(called.toolResults[0].output, /sunny/)
console.log('tool:', called.toolCalls[0].input)
const stream = streamText({ ...asked, toolChoice: 'required', stopWhen: stepCountIs(1) })
const kinds = new Set()
for await (const part of stream.fullStream) kinds.add(part.type)
assert.ok(kinds.has('tool-input-delta') && kinds.has('tool-result') && !kinds.has('error'))

const schema = z.object({ name: z.string(), price: z.number() })
const prompt = 'An apple costs 2.'
const made = await generateObject({ ...settings, schema, prompt })
assert.equal(typeof made.object.price, 'number')
const output = Output.object({ schema })
const both = await generateText({ ...settings, tools: { weather }, output, prompt })
console.log('types:', made.object, both.finishReason)

const cut = await generateText({ ...settings, prompt: 'Count to a hundred.', maxOutputTokens: 2 })
assert.equal(cut.finishReason, 'length')
